"""Two editors at the same moment: one wins, the other is told; and no reader sees half of an edit."""

from __future__ import annotations

import threading
from decimal import Decimal

import pytest
from django.db import transaction

from config.core.tests.racing import at_once
from pricing import cache, services
from pricing.errors import StaleRevision
from pricing.history import book_at
from pricing.models import ModelPricing, PricingRevision
from pricing.tests.makers import SEED, SEED_REVISION, price, seeded, set_by_sql

pytestmark = pytest.mark.django_db(transaction=True)


def editor(n: int, **fields):
    return lambda: services.set_multiplier(
        model_alias="gpt-4o", multiplier=Decimal(n) + Decimal("0.5"), actor=f"editor {n}", **fields
    )


def test_of_two_editors_with_the_same_page_one_wins():
    results = at_once(*[editor(n, expected_revision=SEED_REVISION) for n in (5, 6)])
    (winner,) = [result for result in results if isinstance(result, ModelPricing)]
    (loser,) = [result for result in results if isinstance(result, StaleRevision)]
    assert loser.members == {"pricing_version": SEED, "revision": SEED_REVISION + 1}
    assert price().multiplier == winner.multiplier
    recorded = PricingRevision.objects.get(pricing_version=SEED, revision=SEED_REVISION + 1)
    assert recorded.changes["multiplier"] == {"old": "2.0000", "new": f"{winner.multiplier:.4f}"}
    assert recorded.actor == f"editor {int(winner.multiplier)}"
    assert seeded().revision == SEED_REVISION + 1


def test_editors_without_a_page_take_turns_and_each_is_recorded():
    results = at_once(*[editor(n) for n in range(10, 18)])
    assert {result.multiplier for result in results} == {Decimal(n) + Decimal("0.5") for n in range(10, 18)}
    assert seeded().revision == SEED_REVISION + 8
    recorded = list(PricingRevision.objects.filter(revision__gt=SEED_REVISION).order_by("revision"))
    assert [row.revision for row in recorded] == list(range(SEED_REVISION + 1, SEED_REVISION + 9))
    steps = [(row.changes["multiplier"]["old"], row.changes["multiplier"]["new"]) for row in recorded]
    assert [old for old, _ in steps] == ["2.0000", *[new for _, new in steps[:-1]]]
    assert f"{price().multiplier:.4f}" == steps[-1][1]


def test_editors_of_different_aliases_past_the_services_do_not_lose_a_revision():
    aliases = ["gpt-4o", "gpt-4o-mini", "deepseek", "gemini-pro"]
    at_once(*[lambda alias=alias: set_by_sql(alias, "7") for alias in aliases])
    assert seeded().revision == SEED_REVISION + 4
    book = book_at(SEED, SEED_REVISION + 4)
    assert {book.models[alias].multiplier for alias in aliases} == {Decimal(7)}


def test_the_same_new_alias_twice_is_made_once():
    def put():
        return services.put_model(
            pricing_version=SEED,
            model_alias="gpt-5",
            fields={"multiplier": Decimal(1), "provider_model": "gpt-5", "context_tokens": 1000},
            actor="tester",
        )

    results = at_once(*[put] * 4)
    assert sorted(is_new for _, is_new in results) == [False, False, False, True]
    assert seeded().revision == SEED_REVISION + 1


def test_a_price_cannot_change_in_a_version_that_retires_meanwhile():
    """The edit waits for the retirement, and then sees it."""
    from pricing.tests.makers import add_price, make_draft

    draft = make_draft()
    add_price(draft)
    locked, go_on = threading.Event(), threading.Event()

    def retire() -> None:
        with transaction.atomic():
            draft.status = "retired"
            draft.save()
            locked.set()
            go_on.wait(10)

    def edit() -> object:
        locked.wait(10)
        threading.Timer(0.3, go_on.set).start()
        return ModelPricing.objects.filter(version=draft).update(multiplier=9)

    _, error = at_once(retire, edit)
    assert "retired version cannot change" in str(error)
    assert price("gpt-4o", "next").multiplier == 3


def test_no_reader_sees_half_of_an_edit(settings):
    """Two prices that always move together, while four readers look as often as they can."""
    settings.PRICING_REFRESH_S = 0.1
    stop = threading.Event()
    pairs: set[tuple[Decimal, Decimal]] = set()
    torn = []

    def write() -> None:
        for n in range(3, 33):
            with transaction.atomic():
                for alias in ("gpt-4o", "gpt-4o-mini"):
                    row = price(alias)
                    row.multiplier = Decimal(n)
                    row.save()
        stop.set()

    def read() -> None:
        while not stop.is_set():
            for book in (cache.current(), cache.latest()):
                pair = book.models["gpt-4o"].multiplier, book.models["gpt-4o-mini"].multiplier
                pairs.add(pair)
                if pair[0] != pair[1] and pair != (2, 1):
                    torn.append(pair)

    assert at_once(write, read, read, read, read) == [None] * 5
    assert torn == []
    assert len(pairs) > 3
    assert cache.current().revision == SEED_REVISION + 60
    assert cache.current().models["gpt-4o"].multiplier == 32
