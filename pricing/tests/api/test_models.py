"""GET /models: what a user can call, and what it costs."""

from __future__ import annotations

from decimal import Decimal

import pytest

from pricing import services
from pricing.rating import TokenPools, Weights, rate
from pricing.tests.makers import SEED, SEED_REVISION, client_of, set_by_sql
from users.tests.makers import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _default_provider(settings):
    settings.LLM_BASE_URL, settings.LLM_PROVIDERS = "http://127.0.0.1:1/v1", {}


def test_a_user_sees_the_aliases_with_their_prices():
    answer = client_of(make_user()).get("/api/v1/models")
    assert answer.status_code == 200
    body = answer.json()
    assert {name: body[name] for name in body if name != "results"} == {
        "pricing_version": SEED,
        "revision": SEED_REVISION,
        "tools": {},
        "next": None,
        "previous": None,
    }
    assert [row["model_alias"] for row in body["results"]] == [
        "claude-haiku",
        "claude-sonnet",
        "deepseek",
        "gemini-flash",
        "gemini-pro",
        "gpt-4o",
        "gpt-4o-mini",
    ]
    assert body["results"][5] == {
        "model_alias": "gpt-4o",
        "multiplier": "2.0000",
        "context_tokens": 128_000,
        "credits_per_1k_input": "0.07000000",
        "credits_per_1k_cached_input": "0.02000000",
        "credits_per_1k_output": "0.20000000",
        "provider_model": "gpt-4o",
        "pricing_version": SEED,
    }


def test_the_listing_is_exactly_what_billing_charges():
    for row in client_of(make_user()).get("/api/v1/models").json()["results"]:
        charged = rate(TokenPools(output=1000), multiplier=Decimal(row["multiplier"]), weights=Weights())
        assert row["credits_per_1k_output"] == f"{charged.credits_charged:.8f}"


def test_an_edit_is_listed_at_once_though_nobody_was_told(settings):
    settings.PRICING_REFRESH_S = 60
    client = client_of(make_user())
    client.get("/api/v1/models")
    set_by_sql("gpt-4o", "0.0001")
    body = client.get("/api/v1/models").json()
    assert body["revision"] == SEED_REVISION + 1
    assert body["results"][5]["multiplier"] == "0.0001"
    assert body["results"][5]["credits_per_1k_output"] == "0.00001000"
    assert body["results"][5]["credits_per_1k_cached_input"] == "0.00000100"


def test_aliases_of_providers_that_are_not_configured_are_left_out(settings):
    settings.LLM_BASE_URL, settings.LLM_PROVIDERS = "", {"local": {}}
    services.put_model(
        pricing_version=SEED,
        model_alias="local",
        fields={"multiplier": Decimal("0.1"), "provider_model": "m", "context_tokens": 2048, "provider": "local"},
        actor="test",
    )
    results = client_of(make_user()).get("/api/v1/models").json()["results"]
    assert [row["model_alias"] for row in results] == ["local"]


def test_without_a_token_there_is_no_listing():
    answer = client_of(None).get("/api/v1/models")
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert answer["Content-Type"] == "application/problem+json"
