"""The explicit edits: what they write, and that a refusal writes nothing."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from config.core.errors import DomainError, NotFound, ValidationFailed
from pricing import services
from pricing.errors import StaleRevision, UnknownModelAlias, VersionNotEditable
from pricing.models import PricingRevision
from pricing.tests.makers import SEED, SEED_REVISION, add_price, make_draft, price, retire, seeded, stored

pytestmark = pytest.mark.django_db

NEW = {"multiplier": Decimal("0.1"), "provider_model": "gpt-5-2026", "context_tokens": 400_000}


def set_multiplier(**changes: Any) -> Any:
    values = {"model_alias": "gpt-4o", "multiplier": Decimal("2.5"), "actor": "tester", **changes}
    return services.set_multiplier(**values)


def put_model(model_alias: str = "gpt-5", fields: dict[str, Any] | None = None, **changes: Any) -> Any:
    values = {"pricing_version": SEED, "actor": "tester", **changes}
    return services.put_model(model_alias=model_alias, fields=NEW if fields is None else fields, **values)


def refused(error: type[DomainError], work: Any) -> DomainError:
    before = stored()
    with pytest.raises(error) as caught:
        work()
    assert stored() == before
    return caught.value


def test_a_multiplier_is_set_in_the_active_version_and_recorded():
    row = set_multiplier()
    assert (row.multiplier, row.version.version, row.version.revision) == (Decimal("2.5"), SEED, SEED_REVISION + 1)
    recorded = PricingRevision.objects.get(pricing_version=SEED, revision=SEED_REVISION + 1)
    assert (recorded.actor, recorded.model_alias) == ("tester", "gpt-4o")
    assert recorded.changes == {"multiplier": {"old": "2.0000", "new": "2.5000"}}


def test_the_same_multiplier_again_is_no_revision():
    before = stored()
    assert set_multiplier(multiplier=Decimal("2.0000")).version.revision == SEED_REVISION
    assert stored() == before


def test_a_draft_is_edited_by_name_and_the_active_version_stays():
    add_price(make_draft())
    row = set_multiplier(pricing_version="next", expected_revision=2)
    assert (row.version.version, row.version.revision, row.multiplier) == ("next", 3, Decimal("2.5"))
    assert (price().multiplier, seeded().revision) == (2, SEED_REVISION)


@pytest.mark.parametrize("alias", ["unknown", "gpt", "gpt-4o ", "GPT-4o", "", "a\x00", "a" * 65, "\ud800"])
def test_an_unknown_alias_is_refused(alias):
    refused(UnknownModelAlias, lambda: set_multiplier(model_alias=alias))


@pytest.mark.parametrize("version", ["unknown", "", "a\x00", "a/b", "a" * 65])
def test_an_unknown_version_is_refused(version):
    refused(NotFound, lambda: set_multiplier(pricing_version=version))
    refused(NotFound, lambda: put_model(pricing_version=version))


@pytest.mark.parametrize("revision", [1, SEED_REVISION - 1, SEED_REVISION + 1])
def test_a_stale_revision_is_refused_and_told(revision):
    for work in (set_multiplier, put_model):
        error = refused(StaleRevision, lambda work=work: work(expected_revision=revision))
        assert error.members == {"pricing_version": SEED, "revision": SEED_REVISION}


def test_the_current_revision_is_taken():
    assert set_multiplier(expected_revision=SEED_REVISION).version.revision == SEED_REVISION + 1
    refused(StaleRevision, lambda: set_multiplier(expected_revision=SEED_REVISION))
    assert put_model(expected_revision=SEED_REVISION + 1)[1] is True


@pytest.mark.parametrize("status", ["scheduled", "retired"])
def test_scheduled_and_retired_versions_are_not_edited(status):
    draft = make_draft()
    add_price(draft)
    if status == "retired":
        retire(draft)
    else:
        draft.status = "scheduled"
        draft.save()
    for work in (set_multiplier, put_model):
        error = refused(VersionNotEditable, lambda work=work: work(pricing_version="next"))
        assert error.members == {"pricing_version": "next", "version_status": status}


@pytest.mark.parametrize(
    "multiplier",
    [Decimal(-1), Decimal("NaN"), Decimal("Infinity"), Decimal("0.00001"), Decimal("1e8"), Decimal("1e400")],
)
def test_the_service_itself_refuses_what_is_no_multiplier(multiplier):
    """PostgreSQL would round the fifth place away in silence."""
    error = refused(ValidationFailed, lambda: set_multiplier(multiplier=multiplier))
    assert error.members["errors"][0]["field"] == "multiplier"
    refused(ValidationFailed, lambda: put_model(fields={**NEW, "multiplier": multiplier}))


@pytest.mark.parametrize("usd", [Decimal(-1), Decimal("NaN"), Decimal("0.000000001"), Decimal("1e12")])
def test_the_service_itself_refuses_what_is_no_rate(usd):
    error = refused(ValidationFailed, lambda: put_model(fields={**NEW, "provider_output_usd_per_mtok": usd}))
    assert error.members["errors"][0]["field"] == "provider_output_usd_per_mtok"


def test_a_new_alias_is_made_once_and_changed_after_that():
    row, is_new = put_model()
    assert is_new
    assert (row.multiplier, row.provider, row.provider_model, row.context_tokens, row.fallback_alias) == (
        Decimal("0.1"),
        "default",
        "gpt-5-2026",
        400_000,
        None,
    )
    assert row.version.revision == SEED_REVISION + 1
    row, is_new = put_model(fields={"fallback_alias": "gpt-4o", "provider_input_usd_per_mtok": Decimal("1.25")})
    assert not is_new
    assert (row.fallback_alias, row.provider_input_usd_per_mtok, row.multiplier) == (
        "gpt-4o",
        Decimal("1.25"),
        Decimal("0.1"),
    )
    assert row.version.revision == SEED_REVISION + 2
    assert put_model(fields={})[0].version.revision == SEED_REVISION + 2


@pytest.mark.parametrize("missing", services.REQUIRED_FIELDS)
def test_a_new_alias_needs_its_essentials(missing):
    fields = {name: value for name, value in NEW.items() if name != missing}
    error = refused(ValidationFailed, lambda: put_model(fields=fields))
    assert error.members["errors"] == [
        {"field": missing, "code": "required", "detail": "A new model alias needs this."}
    ]


@pytest.mark.parametrize("fallback", ["unknown", "gpt-5", ""])
def test_a_fallback_is_another_alias_of_the_version(fallback):
    error = refused(ValidationFailed, lambda: put_model(fields={**NEW, "fallback_alias": fallback}))
    assert error.members["errors"][0]["field"] == "fallback_alias"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("context_tokens", value) for value in (0, -1, 2**31, None)),
        *((name, value) for name in ("provider", "provider_model") for value in ("", None, "a" * 256)),
        *(("version", "x"), ("id", "x"), ("model_alias", "x"), ("revision", 1)),
    ],
)
def test_bad_fields_are_refused(field, value):
    error = refused(ValidationFailed, lambda: put_model(fields={**NEW, field: value}))
    assert error.members["errors"][0]["field"] == field


@pytest.mark.parametrize("alias", ["", "-a", "a b", "a\x00", "a" * 65, "ä"])
def test_a_new_alias_is_well_formed(alias):
    error = refused(ValidationFailed, lambda: put_model(alias))
    assert error.members["errors"][0]["field"] == "model_alias"
