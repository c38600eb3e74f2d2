"""Prices of tools: recorded like those of models, guarded by the database, served at once."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction

from config.core.errors import NotFound, ValidationFailed
from pricing import cache
from pricing.errors import StaleRevision, VersionNotEditable
from pricing.history import book_at
from pricing.models import PricingRevision, ToolPricing
from pricing.services import put_tool, remove_tool
from pricing.tests.makers import SEED, SEED_REVISION, make_draft, price_tool, retire, run_sql, seeded, stored

pytestmark = pytest.mark.django_db


def last(version: str = SEED) -> PricingRevision:
    return PricingRevision.objects.filter(pricing_version=version).latest("revision")


def test_a_price_is_made_changed_and_removed_as_recorded_revisions():
    row = price_tool("search", "0.01")
    made = last()
    assert (made.revision, made.action, made.model_alias, made.tool_name) == (9, "created", None, "search")
    assert made.changes["credits_per_call"] == {"old": None, "new": "0.01000000"}
    assert made.snapshot["tools"] == {"search": "0.01000000"}
    assert (row.version.revision, row.credits_per_call, made.actor) == (9, Decimal("0.01"), "test")
    price_tool("search", "0.025")
    assert (last().revision, last().action, last().tool_name) == (10, "changed", "search")
    assert last().changes == {"credits_per_call": {"old": "0.01000000", "new": "0.02500000"}}
    remove_tool(pricing_version=SEED, tool_name="search", actor="test")
    assert (last().revision, last().action, last().tool_name) == (11, "removed", "search")
    assert last().snapshot["tools"] == {}
    assert [book_at(SEED, revision).tool_price("search") for revision in (8, 9, 10, 11)] == [
        Decimal(0), Decimal("0.01"), Decimal("0.025"), Decimal(0),
    ]  # fmt: skip


def test_what_changes_nothing_makes_no_revision():
    price_tool()
    before = stored()
    price_tool()
    assert stored() == before


def test_a_models_price_is_recorded_with_the_tools_beside_it():
    price_tool()
    run_sql("UPDATE model_pricing SET multiplier = 3 WHERE model_alias = 'gpt-4o'")
    assert (last().model_alias, last().tool_name) == ("gpt-4o", None)
    assert last().snapshot["tools"] == {"search": "0.01000000"}


def test_a_statement_past_everything_is_recorded():
    price_tool()
    run_sql("UPDATE tool_pricing SET credits_per_call = 2")
    assert last().changes == {"credits_per_call": {"old": "0.01000000", "new": "2.00000000"}}


@pytest.mark.django_db(transaction=True)
def test_a_new_price_is_served_at_once():
    assert cache.current().tool_price("search") == 0
    put_tool(pricing_version=SEED, tool_name="search", credits_per_call=Decimal("0.01"), actor="test")
    assert cache.current().tool_price("search") == Decimal("0.01")
    ToolPricing.objects.get().delete()
    assert cache.current().tool_price("search") == 0


@pytest.mark.parametrize("name", ["", "-search", "file read", "file.read", "a" * 65, "search\n", "ä"])
def test_a_name_that_no_model_could_call_is_refused(name):
    before = stored()
    with pytest.raises(ValidationFailed) as refused:
        price_tool(name)
    assert refused.value.members["errors"][0]["field"] == "tool_name"
    assert stored() == before


@pytest.mark.parametrize("amount", ["-0.00000001", "0.000000001", "1000000.00000001", "NaN"])
def test_a_price_out_of_bounds_is_refused(amount):
    before = stored()
    with pytest.raises(ValidationFailed) as refused:
        price_tool("search", amount)
    assert refused.value.members["errors"][0]["field"] == "credits_per_call"
    assert stored() == before


@pytest.mark.parametrize("amount", ["-0.00000001", "1000000.00000001", "'NaN'"])
def test_the_database_refuses_a_price_out_of_bounds(amount):
    price_tool()
    with pytest.raises(IntegrityError, match="tool_pricing_credits_per_call"), transaction.atomic():
        run_sql(f"UPDATE tool_pricing SET credits_per_call = {amount}")


@pytest.mark.parametrize("change", ["tool_name = 'other'", "id = gen_random_uuid()"])
def test_the_database_lets_no_price_become_another_tools(change):
    price_tool()
    with pytest.raises(IntegrityError, match="the price of search keeps its name"), transaction.atomic():
        run_sql(f"UPDATE tool_pricing SET {change}")


def test_a_tool_has_one_price_in_a_version():
    row = price_tool()
    with pytest.raises(IntegrityError, match="tool_pricing_tool_once_per_version"), transaction.atomic():
        ToolPricing.objects.create(version=row.version, tool_name="search", credits_per_call=1)


def test_a_draft_has_its_own_prices_and_a_retired_version_keeps_them():
    draft = make_draft("next")
    price_tool("search", "0.5", version="next")
    price_tool("search", "0.01")
    assert (book_at("next", 2).tool_price("search"), seeded().revision) == (Decimal("0.5"), SEED_REVISION + 1)
    retire(draft)
    before = stored()
    with pytest.raises(VersionNotEditable):
        price_tool("search", "0.6", version="next")
    with pytest.raises(VersionNotEditable):
        remove_tool(pricing_version="next", tool_name="search", actor="test")
    for statement in ("UPDATE tool_pricing SET credits_per_call = 1", "DELETE FROM tool_pricing"):
        with pytest.raises(IntegrityError, match="retired version cannot change"), transaction.atomic():
            run_sql(f"{statement} WHERE version_id = %(id)s", id=draft.pk)
    assert stored() == before


def test_who_looked_at_another_revision_is_refused():
    price_tool()
    before = stored()
    for change in (
        lambda: put_tool(pricing_version=SEED, tool_name="search", credits_per_call=Decimal(1), actor="test",
                         expected_revision=SEED_REVISION),
        lambda: remove_tool(pricing_version=SEED, tool_name="search", actor="test", expected_revision=SEED_REVISION),
    ):  # fmt: skip
        with pytest.raises(StaleRevision):
            change()
    assert stored() == before
    remove_tool(pricing_version=SEED, tool_name="search", actor="test", expected_revision=SEED_REVISION + 1)
    assert ToolPricing.objects.count() == 0


@pytest.mark.parametrize("name", ["search", "no such tool"])
def test_a_price_that_is_not_there_cannot_be_removed(name):
    before = stored()
    with pytest.raises(NotFound):
        remove_tool(pricing_version=SEED, tool_name=name, actor="test")
    assert stored() == before
