"""What the tables refuse, whoever writes. Each refusal leaves everything as it was."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from pricing.models import WEIGHTS, ModelPricing, PricingRevision, PricingVersion, ToolPricing
from pricing.tests.makers import SEED, add_price, make_draft, price, run_sql, seeded, stored

pytestmark = pytest.mark.django_db


@contextmanager
def refused(message: str | None = None, error: type[DatabaseError] = IntegrityError):
    before = stored()
    with pytest.raises(error, match=message), transaction.atomic():
        yield
    assert stored() == before


def commit_checks() -> None:
    """Run what is deferred to the commit, as the commit would."""
    run_sql("SET CONSTRAINTS ALL IMMEDIATE")
    run_sql("SET CONSTRAINTS ALL DEFERRED")


@pytest.mark.parametrize("value", ["-0.0001", "-1", "'NaN'", "100000000"])
def test_multipliers_are_finite_and_not_negative(value):
    with refused(error=DatabaseError):
        run_sql(f"UPDATE model_pricing SET multiplier = {value} WHERE model_alias = 'gpt-4o'")


@pytest.mark.parametrize("value", ["'Infinity'", "1e400"])
def test_multipliers_are_finite_numbers_of_the_column(value):
    with refused(error=DatabaseError):
        run_sql(f"UPDATE model_pricing SET multiplier = {value} WHERE model_alias = 'gpt-4o'")


@pytest.mark.parametrize("column", ["input", "cached_input", "cache_write", "output"])
@pytest.mark.parametrize("value", ["-0.00000001", "'NaN'"])
def test_provider_rates_are_finite_and_not_negative(column, value):
    with refused(f"model_pricing_provider_{column}_usd_per_mtok"):
        run_sql(f"UPDATE model_pricing SET provider_{column}_usd_per_mtok = {value} WHERE model_alias = 'gpt-4o'")


@pytest.mark.parametrize("column", [*WEIGHTS, "divisor"])
@pytest.mark.parametrize("value", ["-0.0001", "'NaN'"])
def test_weights_and_divisor_are_finite_and_not_negative(column, value):
    make_draft()
    with refused(f"pricing_version_{column}"):
        run_sql(f"UPDATE pricing_versions SET {column} = {value} WHERE version = 'next'")


def test_the_divisor_is_above_0():
    with refused("pricing_version_divisor"):
        make_draft(divisor=0)


@pytest.mark.parametrize("alias", ["", " ", "-a", ".a", "a b", "a\n", "ä", "a" * 65, "a\\b", "a?b"])
def test_aliases_are_well_formed(alias):
    with refused(error=DatabaseError):
        add_price(seeded(), alias)


@pytest.mark.parametrize("alias", ["a", "gpt-5.2", "openai/gpt-5:free", "A_b", "a" * 64])
def test_well_formed_aliases_are_taken(alias):
    assert add_price(seeded(), alias).model_alias == alias


@pytest.mark.parametrize("name", ["", "a/b", "a b", "-a", "v\n"])
def test_version_names_are_well_formed(name):
    with refused("pricing_version_name"):
        make_draft(name)


def test_an_alias_is_in_a_version_once():
    with refused("model_pricing_alias_once_per_version"):
        add_price(seeded(), "gpt-4o")
    assert add_price(make_draft(), "gpt-4o").version.version == "next"


def test_an_alias_cannot_fall_back_to_itself():
    with refused("model_pricing_fallback_is_another"):
        run_sql("UPDATE model_pricing SET fallback_alias = model_alias WHERE model_alias = 'gpt-4o'")


@pytest.mark.parametrize(
    "change", ["context_tokens = 0", "provider = ''", "provider_model = ''", "fallback_alias = ''"]
)
def test_an_alias_leads_somewhere(change):
    with refused():
        run_sql(f"UPDATE model_pricing SET {change} WHERE model_alias = 'gpt-4o'")


def test_a_version_name_is_used_once():
    with refused("version"):
        make_draft(SEED)


def test_two_versions_cannot_be_active():
    make_draft()
    with refused("pricing_version_one_active"):
        run_sql("UPDATE pricing_versions SET status = 'active' WHERE version = 'next'")


def test_at_commit_a_version_is_active():
    with refused("L7: no price version is active"):
        run_sql("UPDATE pricing_versions SET status = 'retired' WHERE status = 'active'")
        commit_checks()


def test_activation_is_one_transaction_that_retires_and_activates():
    make_draft()
    run_sql("UPDATE pricing_versions SET status = 'retired' WHERE status = 'active'")
    run_sql("UPDATE pricing_versions SET status = 'active' WHERE version = 'next'")
    commit_checks()
    assert PricingVersion.objects.get(status="active").version == "next"


def test_before_any_version_left_draft_none_need_be_active():
    """As while a database is being set up."""
    run_sql("SET session_replication_role = replica")
    run_sql("DELETE FROM model_pricing")
    run_sql("DELETE FROM pricing_versions")
    run_sql("SET session_replication_role = origin")
    make_draft("first")
    commit_checks()
    with pytest.raises(IntegrityError, match="L7"), transaction.atomic():
        make_draft("second", status="scheduled")
        commit_checks()
    run_sql("UPDATE pricing_versions SET status = 'active' WHERE version = 'first'")
    commit_checks()


@pytest.mark.parametrize("column", [*WEIGHTS, "divisor"])
@pytest.mark.parametrize("status", ["scheduled", "active", "retired"])
def test_weights_are_frozen_outside_drafts(column, status):
    if status != "active":
        make_draft(status=status)
    with refused("are frozen"):
        run_sql(f"UPDATE pricing_versions SET {column} = 0.5 WHERE status = '{status}'")


def test_a_draft_may_be_weighed_anew():
    draft = make_draft()
    draft.weight_output = 2
    draft.save()
    draft.refresh_from_db()
    assert (draft.weight_output, draft.revision) == (2, 2)


@pytest.mark.parametrize("version", [SEED, "next"])
def test_a_version_keeps_its_name(version):
    make_draft()
    with refused("keeps its name"):
        run_sql("UPDATE pricing_versions SET version = 'other' WHERE version = %(version)s", version=version)


@pytest.mark.parametrize("version", [SEED, "next"])
def test_a_version_is_never_deleted(version):
    make_draft()
    with refused("Cannot delete", error=DatabaseError):
        run_sql("DELETE FROM pricing_versions WHERE version = %(version)s", version=version)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("retired", "draft"),
        ("retired", "scheduled"),
        ("retired", "active"),
        ("active", "draft"),
        ("active", "scheduled"),
    ],
)
def test_a_version_does_not_come_back(old, new):
    if old == "retired":
        make_draft(status="retired")
    with refused(f"from {old} to {new}"):
        run_sql(f"UPDATE pricing_versions SET status = '{new}' WHERE status = '{old}'")


@pytest.mark.parametrize("status", ["scheduled", "retired"])
def test_prices_of_a_scheduled_or_retired_version_stay(status):
    draft = make_draft()
    add_price(draft)
    ToolPricing.objects.create(version=draft, tool_name="search", credits_per_call=1)
    PricingVersion.objects.filter(pk=draft.pk).update(status=status)
    for statement in (
        "UPDATE model_pricing SET multiplier = 9 WHERE version_id = %(id)s",
        "DELETE FROM model_pricing WHERE version_id = %(id)s",
        "UPDATE tool_pricing SET credits_per_call = 2 WHERE version_id = %(id)s",
        "DELETE FROM tool_pricing WHERE version_id = %(id)s",
    ):
        with refused(f"{status} version cannot change"):
            run_sql(statement, id=draft.id)
    with refused(f"{status} version cannot change"):
        add_price(draft, "another")


def test_a_version_that_is_taken_back_to_draft_is_edited_again():
    draft = make_draft()
    row = add_price(draft)
    for status in ("scheduled", "draft"):
        PricingVersion.objects.filter(pk=draft.pk).update(status=status)
    ModelPricing.objects.filter(pk=row.pk).update(multiplier=9)
    assert price("gpt-4o", "next").multiplier == 9


@pytest.mark.parametrize("table", ["pricing_revisions", "pricing_versions, model_pricing, tool_pricing"])
def test_prices_and_their_history_are_never_truncated(table):
    with refused("Cannot truncate", error=DatabaseError):
        run_sql(f"TRUNCATE {table}")


def test_a_price_keeps_its_alias_and_its_version():
    draft = make_draft()
    for change in ("model_alias = 'gpt-5'", f"version_id = '{draft.id}'"):
        with refused("keeps its name and its version"):
            run_sql(f"UPDATE model_pricing SET {change} WHERE model_alias = 'gpt-4o'")


def test_revisions_are_append_only():
    with refused("Cannot", error=DatabaseError):
        run_sql("UPDATE pricing_revisions SET actor = 'nobody'")
    with refused("Cannot", error=DatabaseError):
        run_sql("DELETE FROM pricing_revisions")
    with refused("Cannot", error=DatabaseError):
        PricingRevision.objects.all().delete()


def test_a_version_with_prices_is_protected_in_python_too():
    with pytest.raises(DatabaseError), transaction.atomic():
        make_draft().delete()
    assert price().version.version == SEED
    assert ModelPricing.objects.count() == 7
    assert connection.needs_rollback is False
