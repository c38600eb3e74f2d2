"""Wallet, transactions and usage over HTTP: exact strings, and nothing of bob's for alice."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from billing.models import CreditWallet
from billing.tests.makers import charge, make_hold, make_wallet
from pricing.rating import TokenPools
from sessions_app.tests.makers import make_person

pytestmark = pytest.mark.django_db
API = "/api/v1"


def client_of(person):
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {person.token}")
    return client


def test_a_wallet_shows_strings_with_eight_places(settings):
    settings.CREDIT_ENFORCEMENT = "hard"
    alice = make_person(credits="10")
    make_hold(alice.id, "1.5")
    charge(alice.id, TokenPools(output=5_000))
    shown = client_of(alice).get(f"{API}/users/me/wallet").json()
    grants = shown.pop("grants")
    assert shown.pop("updated_at") is not None
    assert shown == {
        "balance": "9.50000000",
        "held": "1.50000000",
        "available": "8.00000000",
        "low_balance": False,
        "enforcement": "hard",
        "next_expiry": None,
    }
    assert [(grant["kind"], grant["amount"], grant["remaining"], grant["priority"]) for grant in grants] == [
        ("promo", "10.00000000", "9.50000000", 50)
    ]


def test_the_first_look_at_a_wallet_makes_it_with_the_beta_grant(settings):
    settings.BETA_GRANT_CREDITS = Decimal("2.5")
    alice = make_person(credits="0")
    CreditWallet.objects.filter(user_id=alice.id)
    shown = client_of(alice).get(f"{API}/users/me/wallet").json()
    assert (shown["balance"], shown["low_balance"]) == ("2.50000000", True)


def test_an_expired_grant_is_not_available_and_reading_posts_nothing():
    alice = make_person(credits="1")
    make_wallet("3", user_id=alice.id, expires_at=timezone.now() - timedelta(seconds=1))
    shown = client_of(alice).get(f"{API}/users/me/wallet").json()
    assert (shown["balance"], shown["available"]) == ("4.00000000", "1.00000000")
    assert len(shown["grants"]) == 1
    assert CreditWallet.objects.get(user_id=alice.id).last_seq == 2


def test_transactions_are_listed_newest_first_and_only_ones_own():
    alice, bob = make_person("alice"), make_person("bob", credits="7")
    charge(alice.id, TokenPools(output=10_000))
    rows = client_of(alice).get(f"{API}/users/me/transactions").json()["results"]
    assert [(row["kind"], row["amount"], row["balance_after"], row["reference_type"]) for row in rows] == [
        ("debit", "-1.00000000", "9.00000000", "turn"),
        ("grant", "10.00000000", "10.00000000", "grant"),
    ]
    assert [row["amount"] for row in client_of(bob).get(f"{API}/users/me/transactions").json()["results"]] == [
        "7.00000000"
    ]


def test_transactions_are_paged_by_keyset_each_exactly_once():
    alice = make_person()
    for _ in range(6):
        charge(alice.id, TokenPools(output=100))
    client = client_of(alice)
    seen, url = [], f"{API}/users/me/transactions?page_size=2"
    while url:
        page = client.get(url).json()
        seen += [row["seq"] for row in page["results"]]
        url = page["next"]
        charge(alice.id, TokenPools(output=100))
    assert seen == [7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("kind=theft", "kind"),
        ("from=yesterday", "from"),
        ("to=2026-13-01", "to"),
        ("page_size=0", "page_size"),
        ("page_size=201", "page_size"),
        ("cursor=zzz", "cursor"),
    ],
)
def test_a_wrong_filter_is_named(query, field):
    answer = client_of(make_person()).get(f"{API}/users/me/transactions?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert answer.json()["errors"][0]["field"] == field


def test_transactions_can_be_filtered():
    alice = make_person()
    charge(alice.id, TokenPools(output=100))
    client = client_of(alice)
    assert [r["kind"] for r in client.get(f"{API}/users/me/transactions?kind=grant").json()["results"]] == ["grant"]
    assert client.get(f"{API}/users/me/transactions?from=2999-01-01").json()["results"] == []
    assert len(client.get(f"{API}/users/me/transactions?from=2020-01-01T00:00:00Z").json()["results"]) == 2


def test_usage_adds_up_and_is_grouped_by_alias():
    alice, bob = make_person("alice"), make_person("bob")
    charge(alice.id, TokenPools(input_fresh=120, input_cached=40, output=80), alias="gpt-4o")
    charge(alice.id, TokenPools(input_fresh=7, input_cached=3, output=1), alias="deepseek")
    charge(bob.id, TokenPools(output=10_000))
    shown = client_of(alice).get(f"{API}/users/me/usage").json()
    assert shown["totals"] == {
        "call_count": 2,
        "input_tokens_fresh": 127,
        "input_tokens_cached": 43,
        "output_tokens": 81,
        "oe_tokens": "129.7500",
        "credits_burned": "0.0254",
        "credits_charged": "0.02538750",
    }
    assert [(row["model_alias"], row["credits_charged"]) for row in shown["breakdown"]] == [
        ("gpt-4o", "0.02520000"),
        ("deepseek", "0.00018750"),
    ]
    assert "room" not in shown["breakdown"][0]
    assert len(shown["buckets"]) == 1
    assert shown["buckets"][0]["credits_charged"] == "0.02538750"


@pytest.mark.parametrize("tz", ["UTC", "Asia/Kathmandu", "America/Los_Angeles"])
@pytest.mark.parametrize("bucket", ["hour", "day", "week", "month"])
def test_buckets_add_up_to_the_total_in_every_zone(tz, bucket):
    alice = make_person()
    for n in (1, 2, 3):
        charge(alice.id, TokenPools(output=n))
    shown = client_of(alice).get(f"{API}/users/me/usage?tz={tz}&bucket={bucket}").json()
    assert shown["totals"]["credits_charged"] == "0.00060000"
    assert sum(Decimal(row["credits_charged"]) for row in shown["buckets"]) == Decimal("0.0006")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("tz=Mars/Olympus", "tz"),
        ("tz=localtime", "tz"),
        ("bucket=minute", "bucket"),
        ("group_by=password", "group_by"),
        ("group_by=user", "group_by"),
        ("from=2026-02-01&to=2026-01-01", "from"),
        ("from=0001-01-01T00:00:00%2B14:00", "from"),
    ],
)
def test_a_wrong_usage_query_is_named(query, field):
    answer = client_of(make_person()).get(f"{API}/users/me/usage?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert answer.json()["errors"][0]["field"] == field


def test_usage_can_be_grouped_by_several_things():
    alice = make_person()
    charge(alice.id, TokenPools(output=10), TokenPools(output=20))
    shown = client_of(alice).get(f"{API}/users/me/usage?group_by=model_alias,purpose").json()
    assert [(row["model_alias"], row["purpose"], row["call_count"]) for row in shown["breakdown"]] == [
        ("gpt-4o-mini", "agent", 2)
    ]


@pytest.mark.parametrize("path", ["wallet", "transactions", "usage"])
def test_nobody_sees_money_without_a_token(path):
    answer = APIClient().get(f"{API}/users/me/{path}")
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
