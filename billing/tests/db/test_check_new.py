"""`check_ledger --new`: from each wallet's last good check on, and what that check saw must still be there."""

from __future__ import annotations

from decimal import Decimal

import pytest

from billing import checkpoints
from billing.models import CreditTransaction, CreditWallet, LedgerCheck, LedgerCheckpoint
from billing.tests.db.test_invariants import check_ledger, damage, ledgers  # noqa: F401
from billing.tests.makers import charge, make_hold, settle
from pricing.rating import TokenPools

pytestmark = [pytest.mark.django_db, pytest.mark.breaks_the_ledger]
NOTHING_NEW = "wallets, new since the last good check, 0 entries checked: every invariant holds"


@pytest.fixture
def checked(ledgers):  # noqa: F811
    assert check_ledger()[0] == 0
    return ledgers


def checkpoint(user_id):
    return LedgerCheckpoint.objects.get(wallet_id=CreditWallet.objects.get(user_id=user_id).id)


def test_a_good_check_leaves_each_wallet_as_it_saw_it(checked):
    for user_id in checked.values():
        wallet, saved = CreditWallet.objects.get(user_id=user_id), checkpoint(user_id)
        assert (saved.seq, saved.entry_hash, saved.balance) == (4, wallet.last_hash, Decimal("6.4996500"))
        newest = CreditTransaction.objects.get(wallet=wallet, seq=4)
        assert (saved.events_until, saved.wallet_updated_at) == (newest.created_at, wallet.updated_at)


def test_only_new_entries_are_read(checked):
    # Each wallet has an open hold, so both are looked at, and the entry that each ended on is read again.
    assert check_ledger("--new")[1].startswith("2 wallets, new since the last good check, 2 entries checked: ")
    charge(checked["alice"], TokenPools(output=10_000))
    assert check_ledger("--new")[1].startswith("2 wallets, new since the last good check, 3 entries checked: ")
    assert checkpoint(checked["alice"]).seq == 5
    assert checkpoint(checked["bob"]).seq == 4


def test_a_wallet_without_anything_new_is_not_looked_at(ledgers):  # noqa: F811
    for user_id in ledgers.values():
        wallet = CreditWallet.objects.get(user_id=user_id)
        damage("UPDATE credit_holds SET status = 'released', charged = 0, balance_after = 0, closed_at = now()"
               " WHERE wallet_id = %(id)s AND status = 'open'", id=wallet.id)  # fmt: skip
        damage("UPDATE credit_wallets SET held = 0 WHERE id = %(id)s", id=wallet.id)
    assert check_ledger()[0] == 0
    assert check_ledger("--new")[1].startswith(f"0 {NOTHING_NEW}")
    charge(ledgers["alice"], TokenPools(output=10_000))
    assert check_ledger("--new")[1].startswith("1 wallets, new since the last good check, 2 entries checked: ")


@pytest.mark.parametrize(
    ("invariant", "sql"),
    [
        ("L1", "UPDATE credit_transactions SET balance_after = 99 WHERE user_id = %(alice)s AND seq = 5"),
        ("L3", "UPDATE credit_transactions SET event_id = gen_random_uuid() WHERE user_id = %(alice)s AND seq = 5"),
        ("L6", "UPDATE llm_call_events SET multiplier = 3 WHERE user_id = %(alice)s AND input_tokens_fresh = 77"),
        ("L9", "UPDATE credit_grants SET remaining = remaining + 1 WHERE user_id = %(alice)s"),
        ("L10", "UPDATE credit_transactions SET reason = 'forged' WHERE user_id = %(alice)s AND seq = 5"),
        ("L2", "UPDATE credit_wallets SET held = held + 1 WHERE user_id = %(alice)s"),
        (
            "L8",
            "UPDATE credit_holds SET expires_at = now() - interval '1 hour'"
            " WHERE user_id = %(alice)s AND status = 'open'",
        ),
    ],
)
def test_what_is_broken_since_is_found_and_not_taken_for_good(checked, invariant, sql):
    charge(checked["alice"], TokenPools(input_fresh=77, output=10_000))
    damage(sql, alice=checked["alice"])
    code, report = check_ledger("--new")
    assert code == 1
    wallet = CreditWallet.objects.get(user_id=checked["alice"])
    assert f"{invariant} wallet {wallet.id} user alice@example.com: " in report
    assert "bob@example.com" not in report
    assert checkpoint(checked["alice"]).seq == 4
    assert check_ledger("--new")[0] == 1


@pytest.mark.parametrize("arguments", [[], ["--new"]], ids=["full", "new"])
def test_an_entry_that_is_not_what_the_last_check_ended_on_is_found(checked, arguments):
    """Forged so that the wallet agrees: without the checkpoint nothing would be odd about its head."""
    before = checkpoint(checked["alice"])
    for table, column, where in (
        ("credit_transactions", "entry_hash", "seq = 4"),
        ("credit_wallets", "last_hash", "true"),
    ):
        damage(
            f"UPDATE {table} SET {column} = repeat('0', 64) WHERE user_id = %(alice)s AND {where}",
            alice=checked["alice"],
        )
    entry = CreditTransaction.objects.get(user_id=checked["alice"], seq=4)
    code, report = check_ledger(*arguments)
    assert code == 1
    assert f"entry 4 ({entry.id}) is not the one that the last good check ended on" in report
    assert checkpoint(checked["alice"]).entry_hash == before.entry_hash


@pytest.mark.parametrize("arguments", [[], ["--new"]], ids=["full", "new"])
def test_an_entry_that_the_last_check_ended_on_and_that_is_gone_is_found(checked, arguments):
    third = CreditTransaction.objects.get(user_id=checked["alice"], seq=3)
    damage("DELETE FROM credit_transactions WHERE user_id = %(alice)s AND seq = 4", alice=checked["alice"])
    damage(
        "UPDATE credit_wallets SET last_seq = 3, last_hash = %(hash)s, balance = %(balance)s WHERE user_id = %(alice)s",
        hash=third.entry_hash, balance=third.balance_after, alice=checked["alice"],
    )  # fmt: skip
    code, report = check_ledger(*arguments)
    assert code == 1
    assert "L10 " in report
    assert "user alice@example.com: entry 4, which the last good check ended on, is gone" in report
    assert checkpoint(checked["alice"]).seq == 4


def test_a_full_check_starts_at_the_first_entry_again(checked):
    damage(
        "UPDATE credit_transactions SET reason = 'forged' WHERE user_id = %(alice)s AND seq = 2",
        alice=checked["alice"],
    )
    assert check_ledger("--new")[0] == 0
    assert check_ledger()[0] == 1


def test_a_check_of_what_is_new_is_not_recorded_as_one_of_the_ledger(checked):
    check_ledger("--new")
    assert LedgerCheck.objects.count() == 1


def test_a_hold_that_was_settled_for_nothing_is_new(checked):
    reference = make_hold(checked["alice"], "1")
    settle(checked["alice"], reference)
    assert check_ledger("--new")[0] == 0
    assert checkpoint(checked["alice"]).seq == 4


def test_checkpoints_that_cannot_be_saved_cost_nothing_but_work(ledgers, monkeypatch):  # noqa: F811
    monkeypatch.setattr(checkpoints, "_SAVE", "SELECT 1 / 0, %(wallets)s, %(seqs)s, %(hashes)s, %(balances)s")
    assert check_ledger()[0] == 0
    assert not LedgerCheckpoint.objects.exists()


def test_a_checkpoint_of_a_wallet_that_is_gone_is_found(checked):
    wallet = CreditWallet.objects.get(user_id=checked["alice"])
    damage("DELETE FROM credit_wallets WHERE id = %(id)s", id=wallet.id)
    code, report = check_ledger()
    assert code == 1
    assert f"L10 wallet {wallet.id} user -: the wallet, last found good at entry 4, is gone" in report
