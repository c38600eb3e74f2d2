"""Every change of a price is a recorded revision, by whatever way it comes."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db import connection, transaction

from pricing.actor import act_as
from pricing.history import UnknownPriceRevision, book_at
from pricing.models import ModelPricing, PricingRevision, PricingVersion
from pricing.tests.makers import (
    SEED,
    SEED_REVISION,
    add_price,
    make_draft,
    price,
    retire,
    run_sql,
    seeded,
    set_by_sql,
    stored,
)

pytestmark = pytest.mark.django_db


def last() -> PricingRevision:
    return PricingRevision.objects.get(pricing_version=SEED, revision=seeded().revision)


def test_the_seed_is_on_record():
    assert seeded().revision == SEED_REVISION
    recorded = PricingRevision.objects.filter(pricing_version=SEED).order_by("revision")
    assert [(row.revision, row.action, row.model_alias) for row in recorded] == [
        (1, "created", None),
        (2, "created", "deepseek"),
        (3, "created", "gemini-flash"),
        (4, "created", "gemini-pro"),
        (5, "created", "gpt-4o-mini"),
        (6, "created", "gpt-4o"),
        (7, "created", "claude-haiku"),
        (8, "created", "claude-sonnet"),
    ]
    assert {row.actor for row in recorded} == {"migration"}


def test_an_update_past_everything_is_recorded():
    set_by_sql("gpt-4o", "2.5")
    assert seeded().revision == SEED_REVISION + 1
    row = last()
    assert (row.action, row.model_alias, row.actor) == ("changed", "gpt-4o", "unknown")
    assert row.changes == {"multiplier": {"old": "2.0000", "new": "2.5000"}}
    by_alias = {model["model_alias"]: model["multiplier"] for model in row.snapshot["models"]}
    assert by_alias == {
        "deepseek": "0.5000",
        "gemini-flash": "0.8000",
        "gemini-pro": "1.2000",
        "gpt-4o-mini": "1.0000",
        "gpt-4o": "2.5000",
        "claude-haiku": "0.8000",
        "claude-sonnet": "1.5000",
    }
    assert row.snapshot["weights"] == {
        "input_fresh": "0.3500",
        "input_cache_write": "0.3500",
        "input_cached": "0.1000",
        "output": "1.0000",
        "divisor": "10000.0000",
    }


def test_a_bulk_update_makes_a_revision_for_each_price():
    ModelPricing.objects.filter(model_alias__startswith="gemini").update(multiplier=Decimal("3.25"))
    assert seeded().revision == SEED_REVISION + 2
    recorded = PricingRevision.objects.filter(revision__gt=SEED_REVISION)
    assert {(row.model_alias, row.changes["multiplier"]["new"]) for row in recorded} == {
        ("gemini-flash", "3.2500"),
        ("gemini-pro", "3.2500"),
    }


@pytest.mark.parametrize(
    "change", ["multiplier = 2.00", "multiplier = multiplier", "updated_at = now() + interval '1 day'"]
)
def test_a_change_of_nothing_makes_no_revision(change):
    before = stored()
    run_sql(f"UPDATE model_pricing SET {change} WHERE model_alias = 'gpt-4o'")
    run_sql("UPDATE pricing_versions SET note = note")
    assert stored() == before


def test_a_new_price_and_a_removed_one_are_recorded():
    row = add_price(seeded(), "gpt-5", fallback_alias="gpt-4o")
    created = last()
    assert (created.action, created.model_alias) == ("created", "gpt-5")
    assert created.changes["fallback_alias"] == {"old": None, "new": "gpt-4o"}
    assert "provider_input_usd_per_mtok" not in created.changes
    row.delete()
    removed = last()
    assert (removed.action, removed.model_alias, removed.revision) == ("removed", "gpt-5", SEED_REVISION + 2)
    assert removed.changes["multiplier"] == {"old": "3.0000", "new": None}
    assert "gpt-5" not in {model["model_alias"] for model in removed.snapshot["models"]}


def test_a_change_of_status_is_recorded():
    draft = retire(make_draft())
    row = PricingRevision.objects.get(pricing_version="next", revision=2)
    assert (row.action, row.model_alias) == ("status", None)
    assert row.changes == {"status": {"old": "draft", "new": "retired"}}
    assert draft.revision == 2
    assert row.snapshot["status"] == "retired"


def test_the_actor_is_the_transactions():
    with transaction.atomic():
        act_as("somebody")
        set_by_sql("gpt-4o", "2.5")
        assert last().actor == "somebody"


@pytest.mark.django_db(transaction=True)
def test_an_actor_does_not_outlive_his_transaction():
    with transaction.atomic():
        act_as("somebody")
        set_by_sql("gpt-4o", "2.5")
    set_by_sql("gpt-4o", "2.6")
    assert [row.actor for row in PricingRevision.objects.filter(revision__gt=SEED_REVISION).order_by("revision")] == [
        "somebody",
        "unknown",
    ]
    with pytest.raises(RuntimeError), connection.cursor():
        act_as("somebody")


def test_the_count_is_the_databases_own():
    """An instance that was read a while ago would take the count back when it is saved."""
    old = seeded()
    set_by_sql("gpt-4o", "2.5")
    old.note = "saved with an old revision in hand"
    old.save()
    assert seeded().revision == SEED_REVISION + 2
    run_sql("UPDATE pricing_versions SET revision = 1")
    assert seeded().revision == SEED_REVISION + 2


def test_the_time_of_a_price_is_the_time_of_its_last_change():
    before = price().updated_at
    ModelPricing.objects.filter(model_alias="gpt-4o").update(multiplier=Decimal("2.5"))
    assert price().updated_at > before


def test_every_revision_can_be_read_as_the_book_it_was():
    set_by_sql("gpt-4o", "2.5")
    set_by_sql("gpt-4o", "2.75")
    found = [book_at(SEED, SEED_REVISION + n).find("gpt-4o") for n in range(3)]
    assert [row.multiplier for row in found if row] == [Decimal("2.0"), Decimal("2.5"), Decimal("2.75")]
    assert not book_at(SEED, 1).models
    assert set(book_at(SEED, 2).models) == {"deepseek"}


@pytest.mark.parametrize(("version", "revision"), [(SEED, 0), (SEED, SEED_REVISION + 1), ("other", 1), ("", 1)])
def test_a_revision_that_never_was_has_no_book(version, revision):
    with pytest.raises(UnknownPriceRevision):
        book_at(version, revision)


def test_the_book_of_a_revision_keeps_its_own_weights():
    draft = make_draft()
    add_price(draft)
    PricingVersion.objects.filter(pk=draft.pk).update(weight_output=Decimal("1.25"), divisor=Decimal(5000))
    assert (book_at("next", 2).weights.output, book_at("next", 2).weights.divisor) == (1, 10_000)
    assert (book_at("next", 3).weights.output, book_at("next", 3).weights.divisor) == (Decimal("1.25"), 5000)


def test_the_seeded_prices():
    book = book_at(SEED, SEED_REVISION)
    seen = {alias: (row.multiplier, row.provider_model, row.context_tokens) for alias, row in book.models.items()}
    assert seen == {
        "deepseek": (Decimal("0.5"), "deepseek-chat", 64_000),
        "gemini-flash": (Decimal("0.8"), "gemini-2.5-flash", 1_048_576),
        "gemini-pro": (Decimal("1.2"), "gemini-2.5-pro", 1_048_576),
        "gpt-4o-mini": (Decimal("1.0"), "gpt-4o-mini", 128_000),
        "gpt-4o": (Decimal("2.0"), "gpt-4o", 128_000),
        "claude-haiku": (Decimal("0.8"), "claude-haiku-4-5", 200_000),
        "claude-sonnet": (Decimal("1.5"), "claude-sonnet-4-5", 200_000),
    }
    sonnet = book.find("claude-sonnet")
    assert sonnet is not None
    assert (
        sonnet.provider_input_usd_per_mtok,
        sonnet.provider_cached_input_usd_per_mtok,
        sonnet.provider_cache_write_usd_per_mtok,
        sonnet.provider_output_usd_per_mtok,
    ) == (Decimal(3), Decimal("0.3"), Decimal("3.75"), Decimal(15))
    assert {row.provider for row in book.models.values()} == {"default"}
    assert seeded().status == "active"
