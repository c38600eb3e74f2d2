"""Each invariant is broken by SQL behind the triggers' back, and `check_ledger` names it, the wallet and the user."""

from __future__ import annotations

from io import StringIO

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing.models import CreditWallet
from billing.tests.makers import charge, make_hold, make_wallet
from pricing.rating import TokenPools

pytestmark = [pytest.mark.django_db, pytest.mark.breaks_the_ledger]


def make_user(email):
    return get_user_model().objects.create_user(email=email, password="correct horse battery").pk


def damage(sql, **parameters):
    """Run SQL as an attacker with the database's own rights would: no triggers, no foreign keys."""
    with connection.cursor() as cursor:
        # What is pending is judged before the damage, not after it.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(sql, parameters)
        assert cursor.rowcount == 1
        cursor.execute("SET LOCAL session_replication_role = origin")


def check_ledger(*arguments):
    out = StringIO()
    try:
        call_command("check_ledger", *arguments, stdout=out)
    except SystemExit as stop:
        return stop.code, out.getvalue()
    return 0, out.getvalue()


@pytest.fixture
def ledgers():
    """alice, whose rows are damaged, and bob, whose are not."""
    people = {}
    for name in ("alice", "bob"):
        user_id = make_wallet("10", user_id=make_user(f"{name}@example.com"))
        charge(user_id, TokenPools(input_fresh=10, output=5_000), TokenPools(output=10_000))
        charge(user_id, TokenPools(output=20_000))
        make_hold(user_id, "1")
        people[name] = user_id
    return people


def test_an_undamaged_ledger_exits_0(ledgers):
    code, report = check_ledger()
    assert code == 0
    assert report == "2 wallets, 8 entries checked: every invariant holds (L1-L11)\n"


def test_a_check_with_debug_on_is_a_check(ledgers):
    """Django's cursor is another one then, as in `make demo`."""
    with CaptureQueriesContext(connection):
        assert check_ledger()[0] == 0
        damage("UPDATE credit_wallets SET held = held + 1 WHERE user_id = %(alice)s", alice=ledgers["alice"])
        assert check_ledger()[0] == 1


FIRST_EVENT = "WHERE user_id = %(alice)s AND input_tokens_fresh = 10"
ENTRY = "WHERE user_id = %(alice)s AND seq ="
WALLET = "WHERE user_id = %(alice)s"
OPEN_HOLD = "WHERE user_id = %(alice)s AND status = 'open'"
THIRD_ENTRYS = f"(SELECT {{}} FROM credit_transactions {ENTRY} 3)"
CASES = [
    ("L1", f"UPDATE credit_wallets SET balance = balance + 1 {WALLET}"),
    ("L1", f"UPDATE credit_wallets SET last_seq = last_seq + 1 {WALLET}"),
    ("L1", f"UPDATE credit_transactions SET balance_after = 99 {ENTRY} 2"),
    ("L1", f"DELETE FROM credit_transactions {ENTRY} 2"),
    ("L2", f"UPDATE credit_wallets SET held = held + 0.00000001 {WALLET}"),
    ("L2", f"UPDATE credit_holds SET amount = 7 {OPEN_HOLD}"),
    ("L3", f"DELETE FROM credit_transactions {ENTRY} 4"),
    ("L3", f"DELETE FROM llm_call_events WHERE id = {THIRD_ENTRYS.format('event_id')}"),
    (
        "L4",
        f"""INSERT INTO credit_transactions (id, wallet_id, user_id, seq, kind, amount, balance_after, reference_type,
             reference_id, reason, initiated_by, entry_hash, created_at)
           SELECT gen_random_uuid(), wallet_id, user_id, 5, 'refund', -amount + 1, balance_after - amount + 1, 'entry',
             id, '', 'x', '', now() FROM credit_transactions {ENTRY} 4""",
    ),
    (
        "L5",
        f"""INSERT INTO idempotency_keys (id, caller_id, key, fingerprint, resource_type, resource_id)
           SELECT gen_random_uuid(), user_id, 'k', '', 'entry', id FROM credit_transactions {ENTRY} 1""",
    ),
    ("L6", f"UPDATE llm_call_events SET output_tokens = 5, total_tokens = 15 {FIRST_EVENT}"),
    ("L6", f"UPDATE llm_call_events SET multiplier = 3 {FIRST_EVENT}"),
    ("L6", f"UPDATE llm_call_events SET pricing_revision = 77 {FIRST_EVENT}"),
    ("L8", f"UPDATE credit_holds SET expires_at = now() - interval '1 hour' {OPEN_HOLD}"),
    ("L9", f"UPDATE credit_grants SET remaining = remaining + 1 {WALLET}"),
    ("L9", f"DELETE FROM credit_allocations WHERE entry_id = {THIRD_ENTRYS.format('id')}"),
    ("L10", f"UPDATE credit_transactions SET reason = 'forged' {ENTRY} 2"),
    ("L10", f"UPDATE credit_transactions SET created_at = created_at - interval '1 day' {ENTRY} 2"),
    ("L10", f"UPDATE credit_wallets SET last_hash = repeat('0', 64) {WALLET}"),
]


@pytest.mark.parametrize(("invariant", "sql"), CASES)
def test_damage_is_found_and_named(ledgers, invariant, sql):
    damage(sql, alice=ledgers["alice"])
    code, report = check_ledger()
    wallet = CreditWallet.objects.get(user_id=ledgers["alice"])
    assert code == 1
    assert f"{invariant} wallet {wallet.id} user alice@example.com: " in report
    assert "bob@example.com" not in report
    assert check_ledger("--user", "alice@example.com")[0] == 1
    assert check_ledger("--user", "bob@example.com")[0] == 0


def test_two_active_price_versions_or_none_are_found(ledgers):
    damage("UPDATE pricing_versions SET status = 'retired' WHERE status = 'active'")
    code, report = check_ledger()
    assert code == 1
    assert "L7 wallet - user -: 0 price versions are active" in report


@pytest.mark.parametrize("table", ["llm_call_events", "credit_transactions", "credit_allocations"])
def test_a_disabled_append_only_trigger_is_found(ledgers, table):
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT tgname FROM pg_trigger WHERE tgrelid = '{table}'::regclass AND tgname LIKE 'pgtrigger_append%'"
        )
        (name,) = cursor.fetchone()
        # Pending constraint checks would keep the table from being altered.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {name}")
    code, report = check_ledger()
    assert code == 1
    assert f"L4 wallet - user -: the append-only trigger of {table} is missing or disabled" in report


def test_checking_an_unknown_user_is_an_error_of_the_command():
    from django.core.management import CommandError

    with pytest.raises(CommandError, match=r"There is no user nobody@example\.com"):
        call_command("check_ledger", "--user", "nobody@example.com")
