"""The SQL on the page about the invariants: it runs, finds nothing on a sound ledger, and finds what is broken."""

from __future__ import annotations

import pytest
from django.db import connection

from billing import ledger
from billing.ledger import Reference
from billing.models import CreditTransaction
from billing.tests.db.test_invariants import damage, ledgers  # noqa: F401
from billing.tests.makers import credits
from billing.tests.unit.test_invariants_doc import SECTIONS

pytestmark = [pytest.mark.django_db, pytest.mark.breaks_the_ledger]


def by_hand(invariant):
    sql = "".join(part.split("```")[0] for part in SECTIONS[invariant].split("```sql\n")[1:])
    found = []
    with connection.cursor() as cursor:
        for statement in sql.split(";\n"):
            if statement.strip():
                cursor.execute(statement)
                found += cursor.fetchall()
    return found


@pytest.mark.parametrize("invariant", sorted(SECTIONS))
def test_on_a_sound_ledger_it_finds_nothing(ledgers, invariant):  # noqa: F811
    debit = CreditTransaction.objects.get(user_id=ledgers["alice"], seq=3)
    ledger.refund(user_id=ledgers["alice"], reference=Reference("entry", debit.id), amount=credits("0.5"),
                  reason='half of it: "\\"', initiated_by="test")  # fmt: skip
    ledger.adjust(user_id=ledgers["bob"], amount=credits("-20"), reason="überzogen", initiated_by="test")
    assert by_hand(invariant) == []


BROKEN = {
    "L1": "UPDATE credit_transactions SET balance_after = 99 WHERE user_id = %(alice)s AND seq = 2",
    "L2": "UPDATE credit_wallets SET held = held + 1 WHERE user_id = %(alice)s",
    "L3": "DELETE FROM credit_transactions WHERE user_id = %(alice)s AND seq = 4",
    "L6": "UPDATE llm_call_events SET multiplier = 3 WHERE user_id = %(alice)s AND input_tokens_fresh = 10",
    "L7": "UPDATE pricing_versions SET status = 'retired' WHERE status = 'active' AND %(alice)s IS NOT NULL",
    "L8": "UPDATE credit_holds SET expires_at = now() - interval '1 hour' WHERE user_id = %(alice)s AND amount = 1",
    "L9": "UPDATE credit_grants SET remaining = remaining + 1 WHERE user_id = %(alice)s",
    "L10": "UPDATE credit_transactions SET reason = 'forged' WHERE user_id = %(alice)s AND seq = 3",
}


@pytest.mark.parametrize("invariant", sorted(BROKEN))
def test_it_finds_what_is_broken(ledgers, invariant):  # noqa: F811
    damage(BROKEN[invariant], alice=ledgers["alice"])
    assert by_hand(invariant)
