"""What PostgreSQL itself refuses. Constraint triggers are deferred: they judge what a transaction leaves behind.

Each names its invariant (docs/ledger-invariants.md) in the error, so that a violated one is found by its number.
"""

from __future__ import annotations

from typing import Any

import pgtrigger


def _update_of(*columns: str) -> Any:
    return pgtrigger.UpdateOf(*columns)  # type: ignore[no-untyped-call]


def append_only() -> pgtrigger.Trigger:
    """L4: entries, events and allocations are never changed or deleted."""
    return pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete)


# What of a tool's call is words: erasing a person may take them away. The name only where nothing was charged, because
# a charge follows from it; a name that has a price is an operator's word.
_WORDS = "ARRAY['agent_key', 'arguments_hash', 'tool_name']"


def append_only_but_for_words() -> pgtrigger.Trigger:
    """L4 for calls of tools: never deleted, and nothing of them is changed that money or history follows from."""
    return pgtrigger.Trigger(
        name="append_only",
        operation=pgtrigger.Update | pgtrigger.Delete,
        when=pgtrigger.Before,
        func=f"""
        IF TG_OP = 'UPDATE' AND (OLD.credits_charged = 0 OR NEW.tool_name = OLD.tool_name)
                AND to_jsonb(NEW) - {_WORDS} = to_jsonb(OLD) - {_WORDS} THEN
            RETURN NEW;
        END IF;
        RAISE EXCEPTION 'L4: Cannot update or delete rows from % table', TG_TABLE_NAME;
        """,
    )


def never_truncated() -> pgtrigger.Trigger:
    """L4: TRUNCATE is a delete that no row trigger sees."""
    return pgtrigger.Trigger(
        name="never_truncated",
        level=pgtrigger.Statement,
        operation=pgtrigger.Truncate,
        when=pgtrigger.Before,
        func="RAISE EXCEPTION 'L4: Cannot truncate the append-only table %', TG_TABLE_NAME;",
    )


def never_deleted() -> pgtrigger.Trigger:
    """Wallets, lots and holds change, but a money row never goes away."""
    return pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete)


def _deferred(
    name: str, operation: pgtrigger.Operation, func: str, declare: list[tuple[str, str]]
) -> pgtrigger.Trigger:
    return pgtrigger.Trigger(
        name=name, operation=operation, when=pgtrigger.After, timing=pgtrigger.Deferred, declare=declare, func=func
    )


def wallet_agrees_with_ledger() -> pgtrigger.Trigger:
    """L1, L2, L9: balance, seq and hash are the last entry's; held is the open holds'; lots add up to the balance."""
    return _deferred(
        "wallet_agrees",
        pgtrigger.Insert | pgtrigger.Update,
        """
        SELECT * INTO w FROM credit_wallets WHERE id = NEW.id;
        SELECT seq, balance_after, entry_hash INTO e FROM credit_transactions
            WHERE wallet_id = NEW.id ORDER BY seq DESC LIMIT 1;
        IF w.last_seq <> COALESCE(e.seq, 0) OR w.balance <> COALESCE(e.balance_after, 0)
                OR (e.seq IS NOT NULL AND w.last_hash <> e.entry_hash) THEN
            RAISE EXCEPTION 'L1: wallet % does not agree with its last entry', NEW.id USING ERRCODE = '23514';
        END IF;
        SELECT COALESCE(SUM(amount), 0) INTO total FROM credit_holds WHERE wallet_id = NEW.id AND status = 'open';
        IF w.held <> total THEN
            RAISE EXCEPTION 'L2: wallet % holds %, its open holds %', NEW.id, w.held, total USING ERRCODE = '23514';
        END IF;
        SELECT COALESCE(SUM(remaining), 0) INTO total FROM credit_grants
            WHERE user_id = NEW.user_id AND remaining > 0;
        IF GREATEST(w.balance, 0) <> total THEN
            RAISE EXCEPTION 'L9: wallet % has %, its lots %', NEW.id, w.balance, total USING ERRCODE = '23514';
        END IF;
        RETURN NULL;
        """,
        [("w", "credit_wallets%ROWTYPE"), ("e", "RECORD"), ("total", "NUMERIC")],
    )


def holds_agree_with_wallet() -> pgtrigger.Trigger:
    """L2 from the other side: a hold cannot open, grow or close without the wallet's `held` moving with it."""
    return _deferred(
        "hold_agrees",
        pgtrigger.Insert | _update_of("amount", "status", "wallet_id"),
        """
        SELECT COALESCE(SUM(amount), 0) INTO total FROM credit_holds
            WHERE wallet_id = NEW.wallet_id AND status = 'open';
        IF total <> (SELECT held FROM credit_wallets WHERE id = NEW.wallet_id) THEN
            RAISE EXCEPTION 'L2: open holds of wallet % come to %', NEW.wallet_id, total USING ERRCODE = '23514';
        END IF;
        RETURN NULL;
        """,
        [("total", "NUMERIC")],
    )


def lots_agree_with_wallet() -> pgtrigger.Trigger:
    """L9 from the other side: a lot cannot appear, shrink or grow without the balance moving with it."""
    return _deferred(
        "lots_agree",
        pgtrigger.Insert | _update_of("amount", "remaining", "user_id"),
        """
        SELECT COALESCE(SUM(remaining), 0) INTO total FROM credit_grants
            WHERE user_id = NEW.user_id AND remaining > 0;
        IF total <> (SELECT GREATEST(balance, 0) FROM credit_wallets WHERE user_id = NEW.user_id) THEN
            RAISE EXCEPTION 'L9: lots of user % come to %', NEW.user_id, total USING ERRCODE = '23514';
        END IF;
        RETURN NULL;
        """,
        [("total", "NUMERIC")],
    )


def entry_continues_the_wallet() -> pgtrigger.Trigger:
    """L1: an entry continues the sum and the sequence of the one before, and the wallet has moved on to it."""
    return _deferred(
        "entry_continues",
        pgtrigger.Insert,
        """
        SELECT COALESCE(MAX(balance_after), 0), COUNT(*) INTO before, found FROM credit_transactions
            WHERE wallet_id = NEW.wallet_id AND seq = NEW.seq - 1;
        IF (NEW.seq > 1 AND found = 0) OR NEW.balance_after <> before + NEW.amount THEN
            RAISE EXCEPTION 'L1: entry % does not continue wallet %', NEW.seq, NEW.wallet_id USING ERRCODE = '23514';
        END IF;
        IF NOT EXISTS (SELECT 1 FROM credit_wallets
                WHERE id = NEW.wallet_id AND user_id = NEW.user_id AND last_seq >= NEW.seq) THEN
            RAISE EXCEPTION 'L1: wallet % did not move to entry %', NEW.wallet_id, NEW.seq USING ERRCODE = '23514';
        END IF;
        RETURN NULL;
        """,
        [("before", "NUMERIC"), ("found", "INTEGER")],
    )


def event_has_its_debit(*, other: str) -> pgtrigger.Trigger:
    """L3: a call that costs something has exactly one debit, of exactly that amount; one that does not has none.

    `other`: the other table of calls, which must not have one of the same id.
    """
    return _deferred(
        "event_has_debit",
        pgtrigger.Insert,
        f"""
        SELECT SUM(amount), EXISTS (SELECT 1 FROM {other} WHERE id = NEW.id) INTO debited, is_twice
            FROM credit_transactions WHERE event_id = NEW.id AND user_id = NEW.user_id;
        IF is_twice OR COALESCE(debited, 0) <> -NEW.credits_charged THEN
            RAISE EXCEPTION 'L3: event % costs %, debited %', NEW.id, NEW.credits_charged, debited
                USING ERRCODE = '23514';
        END IF;
        RETURN NULL;
        """,  # noqa: S608 - constants only
        [("debited", "NUMERIC"), ("is_twice", "BOOLEAN")],
    )


def debit_has_its_event() -> pgtrigger.Trigger:
    """L3 from the other side: a debit has exactly one call, of an LLM or of a tool, which cost exactly that."""
    return pgtrigger.Trigger(
        name="debit_has_event",
        operation=pgtrigger.Insert,
        when=pgtrigger.After,
        timing=pgtrigger.Deferred,
        condition=pgtrigger.Q(new__kind="debit"),
        declare=[("found", "INTEGER"), ("cost", "NUMERIC")],
        func="""
        SELECT COUNT(*), SUM(credits_charged) FILTER (WHERE user_id = NEW.user_id) INTO found, cost FROM (
            SELECT user_id, credits_charged FROM llm_call_events WHERE id = NEW.event_id UNION ALL
            SELECT user_id, credits_charged FROM tool_call_events WHERE id = NEW.event_id) e;
        IF found <> 1 OR cost IS DISTINCT FROM -NEW.amount THEN
            RAISE EXCEPTION 'L3: entry % takes %, its event costs %', NEW.id, -NEW.amount, cost USING ERRCODE = '23514';
        END IF;
        RETURN NULL;
        """,
    )


def refund_within_debit() -> pgtrigger.Trigger:
    """L4: refunds never exceed what was taken.

    A refund names the debit that it corrects, or the work (a turn) whose debits it corrects. Both bounds hold: no debit
    and no piece of work is given back more than it cost.
    """
    return pgtrigger.Trigger(
        name="refund_within_debit",
        operation=pgtrigger.Insert,
        when=pgtrigger.After,
        timing=pgtrigger.Deferred,
        condition=pgtrigger.Q(new__kind="refund"),
        declare=[("work", "UUID"), ("debited", "NUMERIC"), ("refunded", "NUMERIC")],
        func="""
        work := NEW.reference_id;
        IF NEW.reference_type = 'entry' THEN
            SELECT -amount, reference_id INTO debited, work FROM credit_transactions
                WHERE id = NEW.reference_id AND wallet_id = NEW.wallet_id AND kind = 'debit';
            SELECT SUM(amount) INTO refunded FROM credit_transactions
                WHERE reference_id = NEW.reference_id AND wallet_id = NEW.wallet_id AND kind = 'refund';
            IF debited IS NULL OR refunded > debited THEN
                RAISE EXCEPTION 'L4: refunds of entry % exceed it', NEW.reference_id USING ERRCODE = '23514';
            END IF;
        END IF;
        SELECT -SUM(amount) INTO debited FROM credit_transactions
            WHERE reference_id = work AND wallet_id = NEW.wallet_id AND kind = 'debit';
        SELECT SUM(amount) INTO refunded FROM credit_transactions r
            WHERE r.wallet_id = NEW.wallet_id AND r.kind = 'refund' AND (r.reference_id = work OR r.reference_id IN (
                SELECT id FROM credit_transactions
                    WHERE reference_id = work AND wallet_id = NEW.wallet_id AND kind = 'debit'));
        IF debited IS NULL OR refunded > debited THEN
            RAISE EXCEPTION 'L4: refunds of % exceed what it cost', work USING ERRCODE = '23514';
        END IF;
        RETURN NULL;
        """,
    )
