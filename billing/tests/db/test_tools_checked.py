"""Damage to tool calls that have a price, behind the triggers' back: `check_ledger` names event, entry and user."""

from __future__ import annotations

import pytest
from django.db import connection

from billing.models import CreditWallet
from billing.tests.db.test_invariants import check_ledger, damage, make_user
from billing.tests.db.test_tools import COPIED, use
from billing.tests.makers import make_wallet
from pricing.tests.makers import price_tool

pytestmark = [pytest.mark.django_db, pytest.mark.breaks_the_ledger]


@pytest.fixture(autouse=True)
def prices():
    price_tool("search", "0.25")


DAMAGE = [
    ("L3", "its debit is missing", "DELETE FROM credit_transactions WHERE user_id = %(alice)s AND reason = 'tool'"),
    ("L3", "this debit has no event of this user", "DELETE FROM tool_call_events WHERE user_id = %(alice)s"),
    ("L3", "has no event of this user", "UPDATE tool_call_events SET user_id = id WHERE user_id = %(alice)s"),
    ("L3", "costs 0.26000000, its debit is -0.25000000",
     "UPDATE tool_call_events SET credits_charged = 0.26 WHERE user_id = %(alice)s"),
    ("L3", "costs 0.00000000, its debit is -0.25000000",
     "UPDATE tool_call_events SET credits_charged = 0 WHERE user_id = %(alice)s"),
    ("L6", "stored 0.2600 and 0.25000000 credits; a call of search that ended as success costs 0.2500 and 0.25000000",
     "UPDATE tool_call_events SET credits_burned = 0.26 WHERE user_id = %(alice)s"),
    ("L6", "a call of search that ended as error costs 0.0000 and 0.00000000",
     "UPDATE tool_call_events SET status = 'error' WHERE user_id = %(alice)s"),
    ("L6", "a call of file_read that ended as success costs 0.0000 and 0.00000000",
     "UPDATE tool_call_events SET tool_name = 'file_read' WHERE user_id = %(alice)s"),
    ("L6", "a call of search that ended as success costs 0.0000 and 0.00000000",
     "UPDATE tool_call_events SET pricing_revision = 8 WHERE user_id = %(alice)s"),
    ("L6", "its price version 2026-02-20 revision 77 is not on record",
     "UPDATE tool_call_events SET pricing_revision = 77 WHERE user_id = %(alice)s"),
]  # fmt: skip


@pytest.mark.parametrize(("invariant", "detail", "sql"), DAMAGE)
def test_damage_to_a_tools_event_is_found_and_named(invariant, detail, sql):
    people = {}
    for name in ("alice", "bob"):
        people[name] = make_wallet("5", user_id=make_user(f"{name}@example.com"))
        use(people[name], "success")
    assert check_ledger()[0] == 0
    damage(sql, alice=people["alice"])
    code, report = check_ledger()
    wallet = CreditWallet.objects.get(user_id=people["alice"])
    assert code == 1
    found = [line for line in report.splitlines() if detail in line]
    assert len(found) == 1
    assert found[0].startswith(f"{invariant} wallet {wallet.id} user alice@example.com: e")
    assert "bob@example.com" not in report


def test_a_debit_of_two_events_is_found():
    user_id = make_wallet("5", user_id=make_user("alice@example.com"))
    use(user_id, "success")
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(COPIED, [user_id])
        cursor.execute("CREATE TEMP TABLE calls ON COMMIT DROP AS SELECT * FROM llm_call_events WHERE user_id = %s",
                       [user_id])  # fmt: skip
        cursor.execute("UPDATE calls SET id = (SELECT id FROM copied), call_index = 2")
    damage("INSERT INTO llm_call_events SELECT * FROM calls WHERE %(any)s", any=True)
    code, report = check_ledger()
    assert code == 1
    assert "this debit has two events of this user" in report


def test_a_disabled_append_only_trigger_is_found():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = 'tool_call_events'::regclass"
            " AND tgname LIKE 'pgtrigger_append%'"
        )
        (name,) = cursor.fetchone()
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(f"ALTER TABLE tool_call_events DISABLE TRIGGER {name}")
    code, report = check_ledger()
    assert code == 1
    assert "the append-only trigger of tool_call_events is missing or disabled" in report
