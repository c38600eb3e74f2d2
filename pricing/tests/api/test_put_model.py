"""PUT of an alias over the admin API: made, changed, or refused with nothing written."""

from __future__ import annotations

import pytest

from pricing.tests.makers import SEED, SEED_REVISION, client_of, make_staff, refused, stored

pytestmark = pytest.mark.django_db

PUT = f"/api/v1/admin/pricing/versions/{SEED}/models/gpt-5"
NEW = {"multiplier": "0.1", "provider_model": "gpt-5-2026", "context_tokens": 400_000}


@pytest.fixture
def client():
    return client_of(make_staff("view_modelpricing", "change_modelpricing"))


@pytest.mark.parametrize("alias", ["gpt-5", "openai/gpt-5:free", "gpt-5.2", "a"])
def test_an_alias_is_made_with_put_and_then_changed(client, alias):
    url = f"/api/v1/admin/pricing/versions/{SEED}/models/{alias}"
    made = client.put(url, {**NEW, "provider_input_usd_per_mtok": "1.25", "provider_output_usd_per_mtok": 10})
    assert made.status_code == 201
    body = made.json()
    assert (body["model_alias"], body["multiplier"], body["provider"]) == (alias, "0.1000", "default")
    assert (body["provider_input_usd_per_mtok"], body["provider_output_usd_per_mtok"]) == ("1.25000000", "10.00000000")
    changed = client.put(url, {"fallback_alias": "gpt-4o", "provider_output_usd_per_mtok": None})
    assert changed.status_code == 200
    body = changed.json()
    assert (body["fallback_alias"], body["provider_output_usd_per_mtok"], body["multiplier"]) == (
        "gpt-4o",
        None,
        "0.1000",
    )
    assert body["revision"] == SEED_REVISION + 2
    patched = client.patch(f"/api/v1/admin/pricing/{alias}", {"multiplier": 0.2})
    assert (patched.status_code, patched.json()["multiplier"]) == (200, "0.2000")


@pytest.mark.parametrize("missing", list(NEW))
def test_a_new_alias_needs_its_essentials(client, missing):
    before = stored()
    body = refused(client.put(PUT, {n: v for n, v in NEW.items() if n != missing}), 422, "validation_error")
    assert [(error["field"], error["code"]) for error in body["errors"]] == [(missing, "required")]
    assert stored() == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("context_tokens", value) for value in (0, -1, 2**31, 1.5, 5.0, "5", "x", True, None, [], 10**100)),
        *(("provider_model", value) for value in ("", None, 5, "a" * 256, "a\x00b", {}, [])),
        *(("provider", value) for value in ("", None, True, "a" * 65, "a\x00b")),
        *(("fallback_alias", value) for value in ("", "unknown", "gpt-5", "a b", "a\x00", 1.5, [])),
        *(("provider_output_usd_per_mtok", value) for value in (-1, "NaN", "1e3", "0.000000001", 10**12, True, "")),
        *((("revision", "x")), ("model_alias", "x"), ("status", "active"), ("provider_cost", "1"))[1:],
    ],
)
def test_bad_fields_of_a_put_are_refused(client, field, value):
    before = stored()
    body = refused(client.put(PUT, {**NEW, field: value}), 422, "validation_error")
    assert body["errors"][0]["field"].startswith(field)
    assert stored() == before


@pytest.mark.parametrize("alias", ["-a", "a%20b", "a%00", "%C3%A4", "a" * 65])
def test_a_new_alias_is_well_formed(client, alias):
    before = stored()
    url = f"/api/v1/admin/pricing/versions/{SEED}/models/{alias}"
    assert refused(client.put(url, NEW), 422, "validation_error")["errors"][0]["field"] == "model_alias"
    assert stored() == before


def test_put_into_an_unknown_version_is_not_found(client):
    before = stored()
    refused(client.put("/api/v1/admin/pricing/versions/unknown/models/gpt-5", NEW), 404, "not_found")
    refused(client.put("/api/v1/admin/pricing/versions/%00/models/gpt-5", NEW), 404, "not_found")
    assert stored() == before
