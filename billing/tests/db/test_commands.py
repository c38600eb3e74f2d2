"""The operators' commands for credits."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from billing.models import CreditGrant, CreditTransaction, CreditWallet
from billing.tests.makers import make_wallet
from sessions_app.tests.makers import make_person

pytestmark = pytest.mark.django_db


def grant(*arguments):
    out = StringIO()
    call_command("grant_beta_credits", *arguments, stdout=out)
    return out.getvalue().strip()


def balance(person):
    return CreditWallet.objects.get(user_id=person.id).balance


def test_a_campaign_is_granted_once_per_user_however_often_it_runs():
    alice, bob = make_person("alice", credits="0"), make_person("bob", credits="0")
    first = grant("--amount", "25", "--user", alice.email, bob.email, "--campaign", "spring")
    again = grant("--amount", "25", "--user", alice.email.upper(), "--campaign", "spring")
    assert first == "2 users granted 25.00000000 credits each (campaign spring), 0 had them already."
    assert again == "0 users granted 25.00000000 credits each (campaign spring), 1 had them already."
    assert (balance(alice), balance(bob)) == (Decimal(25), Decimal(25))
    grant("--amount", "1.5", "--user", alice.email, "--campaign", "autumn")
    assert (balance(alice), balance(bob)) == (Decimal("26.5"), Decimal(25))


def test_all_means_every_active_user():
    people = [make_person(name, credits="0") for name in ("alice", "bob")]
    gone = make_person("gone", credits="0", is_active=False)
    assert grant("--amount", "2", "--all").startswith("2 users granted")
    assert [balance(person) for person in people] == [2, 2]
    assert balance(gone) == 0


def test_a_dry_run_says_it_and_writes_nothing():
    alice = make_person("alice", credits="0")
    assert grant("--amount", "2", "--user", alice.email, "--dry-run") == (
        "1 users would be granted 2.00000000 credits each (campaign beta), 0 had them already."
    )
    assert CreditGrant.objects.count() == 0


def test_grants_can_expire():
    alice = make_person("alice", credits="0")
    grant("--amount", "2", "--user", alice.email, "--expires-in-days", "30")
    expires_at = CreditGrant.objects.get(user_id=alice.id).expires_at
    assert timedelta(days=29, hours=23) < expires_at - timezone.now() <= timedelta(days=30)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--amount", "NaN"), ("--amount", "-1"), ("--amount", "0"), ("--amount", "1e3"), ("--amount", "0.000000001"),
        ("--amount", "1", "--campaign", ""), ("--amount", "1", "--campaign", "x" * 65),
        ("--amount", "1", "--expires-in-days", "0"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_and_nothing_is_granted(arguments):
    alice = make_person("alice", credits="0")
    with pytest.raises(CommandError):
        grant("--user", alice.email, *arguments)
    assert CreditTransaction.objects.count() == 0


def test_an_unknown_user_among_others_stops_all_of_it():
    alice = make_person("alice", credits="0")
    with pytest.raises(CommandError, match="Nothing was granted"):
        grant("--amount", "1", "--user", alice.email, "nobody@example.com")
    assert CreditTransaction.objects.count() == 0


def test_expire_grants_posts_what_is_due():
    due = [make_wallet("2", expires_at=timezone.now() - timedelta(seconds=1)) for _ in range(3)]
    make_wallet("2", expires_at=timezone.now() + timedelta(days=1))
    out = StringIO()
    call_command("expire_grants", stdout=out)
    call_command("expire_grants", stdout=out)
    assert out.getvalue() == "3 lots expired in 3 wallets.\n0 lots expired in 0 wallets.\n"
    assert CreditTransaction.objects.filter(kind="expiry", user_id__in=due).count() == 3
