"""One changed value, whichever it is, is found, and named by wallet, user, entry and id: that entry, and no other."""

from __future__ import annotations

import re

import pytest

from billing.invariants import chain
from billing.models import CreditGrant, CreditTransaction, CreditWallet
from billing.tests.db.test_invariants import check_ledger, damage, ledgers  # noqa: F401
from config.core.ids import uuid7

pytestmark = [pytest.mark.django_db, pytest.mark.breaks_the_ledger]
# What each column is changed to. A kind can only become one that the checks on a row allow.
FORGED = {
    "id": "gen_random_uuid()",
    "wallet_id": "gen_random_uuid()",
    "user_id": "gen_random_uuid()",
    "seq": "99",
    "kind": "'top_up'",
    "amount": "amount - 0.00000001",
    "balance_after": "balance_after + 0.00000001",
    "reference_type": "'turm'",
    "reference_id": "gen_random_uuid()",
    "event_id": "gen_random_uuid()",
    "grant_id": "gen_random_uuid()",
    "idempotency_key": "''",
    "reason": "reason || ' '",
    "initiated_by": "'somebody'",
    "entry_hash": "repeat('0', 64)",
    "created_at": "created_at + interval '1 microsecond'",
}
# An entry that is elsewhere leaves a gap, too, and what follows the gap cannot be verified.
LEAVES_A_GAP = {"wallet_id", "seq"}
EXPLAINED = {"entry_hash": "its entry_hash was changed"}


def forge(user_id, seq, column):
    """Change one column of one entry; returns the entry as it is now."""
    before = CreditTransaction.objects.get(user_id=user_id, seq=seq)
    others = set(CreditTransaction.objects.exclude(pk=before.pk).values_list("pk", flat=True))
    damage(f"UPDATE credit_transactions SET {column} = {FORGED[column]} WHERE id = %(id)s", id=before.pk)
    return CreditTransaction.objects.exclude(pk__in=others).get()


def test_every_column_of_an_entry_is_forged_below():
    assert set(FORGED) == {field.column for field in CreditTransaction._meta.concrete_fields}


# A row's checks keep debits from another kind, and grants from an event.
CASES = [
    (column, seq)
    for column in sorted(FORGED)
    for seq in (1, 3, 4)
    if not (column == "kind" and seq > 1) and not (column == "event_id" and seq == 1)
]


@pytest.mark.parametrize(("column", "seq"), CASES)
def test_a_changed_column_is_found_and_that_entry_named(ledgers, column, seq):  # noqa: F811
    wallet = CreditWallet.objects.get(user_id=ledgers["alice"])
    entry = forge(ledgers["alice"], seq, column)
    code, report = check_ledger()
    assert code == 1
    assert "bob@example.com" not in report
    name = f"entry {entry.seq} ({entry.id})"
    if column == "wallet_id":
        lost = f"L1 wallet {entry.wallet_id} user alice@example.com: {name} is of a wallet that does not exist"
        assert lost in report
        assert f"L1 wallet {wallet.id} user alice@example.com: " in report
        return
    sealed = re.findall(rf"^L10 wallet {wallet.id} user alice@example\.com: (.*)$", report, re.MULTILINE)
    assert f"{name} does not match its hash: " in "\n".join(sealed)
    if column not in LEAVES_A_GAP:
        assert sealed == [f"{name} does not match its hash: {EXPLAINED.get(column, 'its content was changed')}"]


@pytest.mark.parametrize("column", ["amount", "balance_after"])
def test_a_changed_amount_breaks_one_sum_and_not_all_that_follow(ledgers, column):  # noqa: F811
    entry = forge(ledgers["alice"], 2, column)
    report = check_ledger()[1]
    sums = re.findall(r"^L1 wallet \S+ user alice@example\.com: (entry .*)$", report, re.MULTILINE)
    assert len(sums) == 1
    assert sums[0].startswith(f"entry 2 ({entry.id}): balance_after ")


def test_a_removed_entry_is_found_where_it_is_missing(ledgers):  # noqa: F811
    damage("DELETE FROM credit_transactions WHERE user_id = %(alice)s AND seq = 2", alice=ledgers["alice"])
    third = CreditTransaction.objects.get(user_id=ledgers["alice"], seq=3)
    report = check_ledger()[1]
    assert f"entries 2 to 2 are missing before entry 3 ({third.id})" in report
    assert f"entry 3 ({third.id}) does not match its hash: it does not continue the one before the gap" in report
    assert f"entry 4 ({CreditTransaction.objects.get(user_id=ledgers['alice'], seq=4).id}) does not" not in report


def test_two_neighbours_that_were_changed_are_both_named(ledgers):  # noqa: F811
    two, three = forge(ledgers["alice"], 2, "reason"), forge(ledgers["alice"], 3, "entry_hash")
    report = check_ledger()[1]
    assert f"entry 2 ({two.id}) does not match its hash: its content was changed" in report
    assert f"entry 3 ({three.id}) does not match its hash: its entry_hash was changed" in report
    assert report.count("does not match its hash") == 2


def test_a_wallet_that_was_given_to_somebody_else_is_found(ledgers):  # noqa: F811
    wallet = CreditWallet.objects.get(user_id=ledgers["alice"])
    damage("UPDATE credit_wallets SET user_id = %(other)s WHERE id = %(id)s", id=wallet.id, other=uuid7())
    code, report = check_ledger()
    assert code == 1
    first = CreditTransaction.objects.get(wallet_id=wallet.id, seq=1)
    assert f"entry 1 ({first.id}) is another user's" in report


EVENT = "WHERE user_id = %(alice)s AND input_tokens_fresh = 10"
# The checks on a row let no token count change without the total.
EVENT_COLUMNS = {
    "input_tokens_fresh": "L6", "input_tokens_cached": "L6", "input_tokens_cache_write": "L6", "output_tokens": "L6",
    "oe_tokens_computed": "L6", "multiplier": "L6", "credits_burned": "L6", "credits_charged": "L3",
}  # fmt: skip


@pytest.mark.parametrize("column", sorted(EVENT_COLUMNS))
def test_a_changed_number_of_an_event_is_found_and_its_entry_named(ledgers, column):  # noqa: F811
    total = ", total_tokens = total_tokens + 1" if "tokens" in column and column != "oe_tokens_computed" else ""
    step = "1" if total else "0.00000001" if column == "credits_charged" else "0.0001"
    damage(f"UPDATE llm_call_events SET {column} = {column} + {step}{total} {EVENT}", alice=ledgers["alice"])
    entry = CreditTransaction.objects.get(user_id=ledgers["alice"], seq=2)
    code, report = check_ledger()
    wallet = CreditWallet.objects.get(user_id=ledgers["alice"])
    assert code == 1
    start = f"{EVENT_COLUMNS[column]} wallet {wallet.id} user alice@example.com: event {entry.event_id} of entry 2"
    assert f"{start} ({entry.id})" in report
    assert "bob@example.com" not in report


PAID = "WHERE entry_id = (SELECT id FROM credit_transactions WHERE user_id = %(alice)s AND seq = 3)"


@pytest.mark.parametrize(
    "change",
    [
        f"UPDATE credit_allocations SET amount = amount + 0.00000001 {PAID}",
        f"UPDATE credit_allocations SET amount = -amount {PAID}",
        f"UPDATE credit_allocations SET grant_id = gen_random_uuid() {PAID}",
        f"UPDATE credit_allocations SET entry_id = gen_random_uuid() {PAID}",
    ],
)
def test_a_changed_allocation_is_found(ledgers, change):  # noqa: F811
    damage(change, alice=ledgers["alice"])
    entry = CreditTransaction.objects.get(user_id=ledgers["alice"], seq=3)
    lot = CreditGrant.objects.get(user_id=ledgers["alice"])
    code, report = check_ledger()
    assert code == 1
    assert "bob@example.com" not in report
    names = {"grant_id": [f"lot {lot.id}"], "entry_id": [f"entry 3 ({entry.id})"]}
    [column] = re.findall(r"SET (\w+)", change)
    for name in names.get(column, [f"lot {lot.id}", f"entry 3 ({entry.id})"]):
        assert re.search(rf"^L9 wallet \S+ user alice@example\.com: {re.escape(name)}", report, re.MULTILINE)


@pytest.mark.parametrize(
    "change",
    [
        "amount = amount + 0.00000001",
        "remaining = remaining - 0.00000001",
        "user_id = gen_random_uuid()",
        "created_at = created_at - interval '1 microsecond'",
    ],
)
def test_a_changed_lot_is_found(ledgers, change):  # noqa: F811
    damage(f"UPDATE credit_grants SET {change} WHERE user_id = %(alice)s", alice=ledgers["alice"])
    code, report = check_ledger()
    assert code == 1
    assert "L9 wallet" in report
    assert "user alice@example.com" in report
    assert "bob@example.com" not in report


def test_entries_are_followed_over_many_batches(ledgers, monkeypatch):  # noqa: F811
    """Each wallet in a batch of its own, and told of after every entry."""
    monkeypatch.setattr("billing.invariants.wallets.BATCH_ENTRIES", 1)
    monkeypatch.setattr(chain, "STEP", 1)
    entry = forge(ledgers["bob"], 3, "reason")
    code, report = check_ledger()
    assert code == 1
    assert report.count("does not match its hash") == 1
    assert f"entry 3 ({entry.id}) does not match its hash" in report
    assert "in 2 wallets, 8 entries" in report
