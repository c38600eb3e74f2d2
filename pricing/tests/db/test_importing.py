"""Provider rates taken over from the shipped list: what changes, what is refused, and that charges stay."""

from __future__ import annotations

import socket
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from pricing import lifecycle, services
from pricing.importing import ACTOR, import_rates
from pricing.models import PricingRevision
from pricing.tests.makers import (
    SEED,
    SEED_REVISION,
    add_price,
    make_draft,
    make_next,
    price,
    seeded,
    stored,
)

pytestmark = pytest.mark.django_db
INPUT, OUTPUT = "provider_input_usd_per_mtok", "provider_output_usd_per_mtok"


def set_rates(model_alias: str, **rates):
    services.put_model(pricing_version=SEED, model_alias=model_alias, fields=rates, actor="test")


def command(**options) -> str:
    out = StringIO()
    call_command("import_provider_prices", stdout=out, no_color=True, **options)
    return out.getvalue()


def test_rates_that_differ_are_taken_over_as_revisions_and_charges_stay():
    set_rates("gpt-4o", **{INPUT: Decimal(5), OUTPUT: Decimal(9)})
    set_rates("gpt-4o-mini", **{INPUT: None})
    before = {row.model_alias: row.multiplier for row in seeded().models.all()}
    report = import_rates()
    assert [(one.model_alias, one.name, one.old, one.new) for one in report.changed] == [
        ("gpt-4o", INPUT, 5, Decimal("2.5")),
        ("gpt-4o", OUTPUT, 9, 10),
        ("gpt-4o-mini", INPUT, None, Decimal("0.15")),
    ]
    assert (report.refused, report.not_found) == ([], [])
    assert sorted(report.unchanged) == ["claude-haiku", "claude-sonnet", "deepseek", "gemini-flash", "gemini-pro"]
    assert (getattr(price(), INPUT), getattr(price(), OUTPUT)) == (Decimal("2.5"), 10)
    assert {row.model_alias: row.multiplier for row in seeded().models.all()} == before
    # One revision an alias, beside the two that this test made.
    assert report.revision == seeded().revision == SEED_REVISION + 4
    recorded = PricingRevision.objects.get(pricing_version=SEED, revision=SEED_REVISION + 3)
    assert (recorded.actor, recorded.model_alias) == (ACTOR, "gpt-4o")
    assert recorded.changes[INPUT] == {"old": "5.00000000", "new": "2.50000000"}


def test_the_same_list_again_changes_nothing():
    set_rates("gpt-4o", **{INPUT: Decimal(5)})
    import_rates()
    before = stored()
    report = import_rates()
    assert (report.changed, report.refused, len(report.unchanged)) == ([], [], 7)
    assert stored() == before


def test_a_rate_that_the_list_lacks_stays():
    set_rates("gpt-4o", provider_cache_write_usd_per_mtok=Decimal(7))
    import_rates()
    assert price().provider_cache_write_usd_per_mtok == 7


def test_large_steps_need_a_word_and_zero_is_never_left():
    set_rates("gpt-4o", **{INPUT: Decimal("0.8"), OUTPUT: Decimal(0)})
    set_rates("deepseek", **{INPUT: Decimal("0.9")})
    before = stored()
    report = import_rates()
    assert [(one.model_alias, one.name) for one in report.refused] == [
        ("deepseek", INPUT), ("gpt-4o", INPUT), ("gpt-4o", OUTPUT),
    ]  # fmt: skip
    assert report.changed == []
    assert stored() == before
    report = import_rates(confirm_large=True)
    assert [(one.model_alias, one.name) for one in report.changed] == [("deepseek", INPUT), ("gpt-4o", INPUT)]
    assert [(one.name, one.why) for one in report.refused] == [(OUTPUT, "0 here: who set that by hand knows why")]
    assert (getattr(price(), INPUT), getattr(price(), OUTPUT)) == (Decimal("2.5"), 0)


def test_a_dry_run_says_it_and_writes_nothing():
    set_rates("gpt-4o", **{INPUT: Decimal(5)})
    before = stored()
    text = command(dry_run=True)
    assert "would change  gpt-4o input: 5.00000000 → 2.50000000 USD (openai/gpt-4o)" in text
    assert "1 rates would change, 0 refused" in text
    assert stored() == before


def test_the_command_reports_what_it_did():
    set_rates("gpt-4o", **{INPUT: Decimal(5), OUTPUT: Decimal(1)})
    add_price(seeded(), "local", provider="local", provider_model="smollm2-135m")
    text = command()
    assert "changed  gpt-4o input: 5.00000000 → 2.50000000 USD (openai/gpt-4o)" in text
    assert "refused  gpt-4o output: 1.00000000 → 10.00000000 USD (openai/gpt-4o): more than ×3 up" in text
    assert "not found  local (local/smollm2-135m)" in text
    assert "taken as for short ones: claude-sonnet, gemini-pro" in text
    assert "1 rates changed, 1 refused, 6 aliases as in the list, 1 not found." in text


def test_a_draft_takes_rates_too_and_the_active_version_does_not_change():
    make_next()
    services.put_model(pricing_version="next", model_alias="gpt-4o", fields={INPUT: Decimal(5)}, actor="test")
    report = import_rates(pricing_version="next")
    assert [one.model_alias for one in report.changed] == ["gpt-4o"]
    assert getattr(price("gpt-4o", "next"), INPUT) == Decimal("2.5")
    assert seeded().revision == SEED_REVISION


def test_other_versions_are_refused():
    make_next()
    lifecycle.activate(pricing_version="next", actor="t")
    before = stored()
    for name, text in ((SEED, "is retired"), ("unknown", "no such price version")):
        with pytest.raises(CommandError, match=text):
            command(pricing_version=name)
    assert stored() == before


def test_it_works_without_a_network(monkeypatch):
    """The list lies in the package."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nothing is fetched")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert len(import_rates(dry_run=True).unchanged) == 7


def test_an_empty_draft_has_nothing_to_report():
    make_draft("empty")
    report = import_rates(pricing_version="empty")
    assert (report.changed, report.refused, report.unchanged, report.not_found) == ([], [], [], [])
