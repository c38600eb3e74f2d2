"""Random sequences of all that moves credits, against `ledger_model`: after each step the wallet is as the model says.

A sequence is one transaction, rolled back at its end; what a commit would check is checked after every step. Seeds are
fixed, so that a failure comes again; `LEDGER_MACHINE_SEED=n` makes other sequences.
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)  # fmt: skip

from billing import ledger
from billing.errors import InsufficientCredits, NothingToVoid, RefundExceedsDebit, SpendingLimitReached
from billing.invariants import check_wallets
from billing.ledger import Reference
from billing.limits import services as limits
from billing.tests.ledger_model import CREDIT, MULTIPLIERS, TOOL, TOOL_PRICE, LedgerModel, Refused, price
from billing.tests.makers import make_call, make_tool, settle, share
from config.core.errors import NotFound, ValidationFailed
from config.core.ids import uuid7
from config.core.jsonb import decoded
from pricing.rating import TokenPools
from pricing.tests.makers import price_tool

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long, pytest.mark.timeout(600)]

PARTS, SEQUENCES, STEPS = 4, 250, 38
# Steps between two whole checks: the chain (L10), events from their own rows (L6), allocations (L9), limits (L11).
CHECKED_EVERY = 8
REFUSALS = (InsufficientCredits, SpendingLimitReached, NothingToVoid, RefundExceedsDebit, ValidationFailed, NotFound)

aliases = st.sampled_from([*MULTIPLIERS, TOOL])
scopes = st.sampled_from([(), (), (), ("gpt-4o",), ("deepseek", "gpt-4o-mini")])
# Whole credits meet each other's edges; single units show what is rounded.
amounts = st.one_of(st.sampled_from([1, 1, 2, 5]).map(lambda n: n * CREDIT), st.integers(1, 3 * CREDIT))
tokens = st.sampled_from([0, 1, 5_000, 10_000, 20_000])
calls = st.lists(st.tuples(aliases, tokens), min_size=1, max_size=3)
grants = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["promo", "purchase", "beta"]),
        "amount": amounts,
        "priority": st.sampled_from([50, 50, 10, 90]),
        "hours": st.sampled_from([None, None, -1, 0, 2, 5]),
        "scope": scopes,
    }
)
modes = st.sampled_from(["hard", "hard", "hard", "warn", "off"])
endings = st.sampled_from(["at", "below", "above", "otherwise", "nothing"])
places = st.integers(0, 40)
parts = st.sampled_from([None, None, 0.5, 1.0, 2.0])

# All that the contract calls always true, and all that a step has changed, in one statement.
_STATE = """
SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED;
SELECT (w.balance * 100000000)::bigint, (w.held * 100000000)::bigint, w.last_seq, w.has_scoped_lots,
       (w.next_expiry_at IS NOT DISTINCT FROM (
            SELECT MIN(expires_at) FROM credit_grants WHERE user_id = w.user_id AND remaining > 0)),
       (SELECT (COALESCE(SUM(amount), 0) * 100000000)::bigint FROM credit_transactions WHERE wallet_id = w.id),
       (SELECT (COALESCE(SUM(amount), 0) * 100000000)::bigint FROM credit_holds
         WHERE wallet_id = w.id AND status = 'open'),
       (SELECT COUNT(*) FROM credit_holds
         WHERE wallet_id = w.id AND status = 'open' AND expires_at < clock_timestamp()),
       (SELECT COUNT(*) FROM (SELECT id, credits_charged FROM llm_call_events
                              UNION ALL SELECT id, credits_charged FROM tool_call_events) e
          FULL JOIN credit_transactions t ON t.event_id = e.id
         WHERE (e.credits_charged > 0 AND -e.credits_charged IS DISTINCT FROM t.amount
                OR e.credits_charged = 0 AND t.id IS NOT NULL OR e.id IS NULL AND t.kind = 'debit')),
       (SELECT COALESCE(jsonb_agg(jsonb_build_array((remaining * 100000000)::bigint, voided_at IS NOT NULL, id)
               ORDER BY created_at, id), '[]') FROM credit_grants WHERE user_id = w.user_id),
       (SELECT COALESCE(jsonb_agg(jsonb_build_array(kind, (amount * 100000000)::bigint, seq,
               (balance_after * 100000000)::bigint, id) ORDER BY seq), '[]')
          FROM credit_transactions WHERE wallet_id = w.id AND seq > %s)
  FROM credit_wallets w WHERE w.user_id = %s
"""


def credits(units: int) -> Decimal:
    return Decimal(units).scaleb(-8)


def shares(items):
    return [share(str(credits(price(alias, count))), alias) for alias, count in items]


def priced(items):
    return [(alias, price(alias, count)) for alias, count in items]


def total(items):
    return sum(amount for _, amount in priced(items))


class LedgerMachine(RuleBasedStateMachine):
    """One wallet, several turns in flight, and hours that pass."""

    tally: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.transaction = transaction.atomic()
        self.transaction.__enter__()
        self.user_id = uuid7()
        ledger.get_or_create_wallet(user_id=self.user_id)
        self.model = LedgerModel()
        self.base = datetime.now(UTC) + timedelta(minutes=30)
        self.seen: list[tuple[str, int]] = []
        self.lot_ids, self.debit_ids, self.references, self.settled, self.holds = [], [], [], [], {}
        self.is_sound, self.steps, self.facts, self.limit = True, 0, set(), None

    @initialize(
        is_careful=st.sampled_from([True, False, False]), lots=st.lists(grants, max_size=4),
        cap=st.sampled_from([None, None, 2, 5, 20]),
    )  # fmt: skip
    def begin(self, is_careful, lots, cap):
        """A careful operator refuses in time, and takes nothing away: then nothing ever overdraws the wallet."""
        self.is_careful = is_careful
        if cap is not None:
            self.limit = limits.create(
                user_id=self.user_id, subject="user", subject_id=self.user_id, period="month",
                amount=credits(cap * CREDIT), tz="UTC", set_by="test",
            )  # fmt: skip
            self.model.cap = cap * CREDIT
        for lot in lots:
            self.give(**lot)

    @rule(lot=grants)
    def grant(self, lot):
        self.give(**lot)

    def give(self, *, kind, amount, priority, hours, scope):
        expires_h = None if hours is None else self.model.hour + hours
        expires_at = None if hours is None else self.base + timedelta(hours=hours)
        self.step(
            lambda: ledger.grant(user_id=self.user_id, amount=credits(amount), reason="", initiated_by="test",
                                 kind=kind, priority=priority, expires_at=expires_at, aliases=scope),
            lambda: self.model.gain("top_up" if kind == "purchase" else "grant", amount, priority=priority,
                                    expires_h=expires_h, aliases=scope),
        )  # fmt: skip

    @rule(items=calls, mode=modes)
    def hold(self, items, mode):
        self.place(items, mode)

    def place(self, items, mode):
        work = len(self.references)
        self.references.append(Reference("turn", uuid7()))
        mode = "hard" if self.is_careful else mode
        admitted = self.step(
            lambda: ledger.place_hold(user_id=self.user_id, reference=self.references[work], shares=shares(items),
                                      enforcement=mode),
            lambda: self.model.hold(work, priced(items), is_hard=mode == "hard"),
        )  # fmt: skip
        self.holds[work] = items
        return work if admitted else None

    @rule(place=places, items=calls, is_further=st.booleans(), mode=modes)
    def extend(self, place, items, is_further, mode):
        work = self.open(place)
        if work is None:
            self.place(items, mode)
            return
        items = self.holds[work] + items if is_further else items
        mode = "hard" if self.is_careful else mode
        extended = self.step(
            lambda: ledger.extend_hold(user_id=self.user_id, reference=self.references[work], shares=shares(items),
                                       enforcement=mode),
            lambda: self.model.extend(work, priced(items), is_hard=mode == "hard"),
        )  # fmt: skip
        if extended and total(items) == self.model.amounts[work]:
            self.holds[work] = items

    @rule(place=places, how=endings, items=calls)
    def settle(self, place, how, items):
        work = self.open(place)
        if work is None:
            work = self.place(items, "hard")
        if work is not None:
            self.end(work, how, items)

    def end(self, work, how, items):
        at = self.holds[work]
        below = [(alias, count // 2) for alias, count in at]
        above = [*at, ("gpt-4o", 30_000), *items]
        items = {"nothing": [], "below": below, "at": at, "above": above, "otherwise": items}[how]
        if self.is_careful and total(items) > self.model.amounts[work]:
            items = below
        self.close(work, items)

    @rule(held=calls, mode=modes, how=endings, items=calls)
    def run_a_turn(self, held, mode, how, items):
        work = self.place(held, mode)
        if work is not None:
            self.end(work, how, items)

    def open(self, place):
        """One of the turns in flight; None where there is none."""
        running = [*self.model.holds]
        return running[place % len(running)] if running else None

    def close(self, work, items):
        reference, outcome = self.references[work], {}
        made = [self.made(item, index, reference.id) for index, item in enumerate(items, start=1)]
        held = self.model.amounts[work]
        self.step(
            lambda: outcome.update(real=settle(self.user_id, reference, *made)),
            lambda: outcome.update(charged=self.model.settle(work, priced(items))),
        )
        assert outcome["real"].charged == credits(outcome["charged"])
        assert outcome["real"].balance_after == credits(self.model.balance)
        assert outcome["real"].exceeded_hold == (outcome["charged"] > held)
        self.settled.append((work, outcome["real"]))

    def made(self, item, index, turn_id):
        alias, count = item
        if alias != TOOL:
            return make_call(TokenPools(output=count), alias=alias, call_index=index, turn_id=turn_id)
        status = "success" if count else "error"
        return make_tool("search", status, call_index=index, asked_by=index, turn_id=turn_id)

    @rule(place=places, items=calls)
    def settle_again(self, place, items):
        """A retry, whatever it brings: the first answer once more, and nothing moves."""
        if not self.settled:
            return
        work, first = self.settled[place % len(self.settled)]
        reference = self.references[work]
        again = [self.made(item, index, reference.id) for index, item in enumerate(items, start=1)]
        answers = []
        self.step(lambda: answers.append(settle(self.user_id, reference, *again)), lambda: None)
        (answer,) = answers
        assert not answer.settled_now
        assert (answer.charged, answer.balance_after) == (first.charged, first.balance_after)

    @rule(place=places, part=parts, is_of_turn=st.booleans())
    def refund(self, place, part, is_of_turn):
        debit, work, cost, reference = None, None, CREDIT, Reference("entry", self.user_id)
        if self.model.debits:
            debit = place % len(self.model.debits)
            work, taken = self.model.debits[debit]
            cost, reference = taken.cost, Reference("entry", self.debit_ids[debit])
            if is_of_turn:
                debit, cost, reference = None, self.model.work[work].cost, self.references[work]
        amount = None if part is None else int(cost * part)
        self.step(
            lambda: ledger.refund(user_id=self.user_id, reference=reference, reason="", initiated_by="test",
                                  amount=None if amount is None else credits(amount)),
            lambda: self.model.refund(debit=debit, work=work, amount=amount),
        )  # fmt: skip

    @rule()
    def expire(self):
        counts = {}
        self.step(
            lambda: counts.update(real=ledger.expire_lots(user_id=self.user_id)),
            lambda: counts.update(model=self.model.expire()),
        )
        assert counts["real"] == counts["model"]

    @rule(amount=st.one_of(amounts, amounts.map(lambda n: -n), st.just(0)))
    def adjust(self, amount):
        amount = abs(amount) if self.is_careful else amount
        self.step(
            lambda: ledger.adjust(user_id=self.user_id, amount=credits(amount), reason="", initiated_by="test"),
            lambda: self.model.adjust(amount),
        )

    @precondition(lambda self: self.limit is not None)
    @rule(more=st.integers(-3, 5))
    def move_the_limit(self, more):
        """Work that runs goes on, also where it has passed what may be charged from now on."""
        self.model.cap = max(0, self.model.cap + more * CREDIT)
        amount = credits(self.model.cap)
        self.step(lambda: limits.change(self.limit, amount=amount, set_by="test"), lambda: None)

    @rule(place=places)
    def void(self, place):
        if self.is_careful or not self.lot_ids:
            return
        place %= len(self.lot_ids)
        self.step(
            lambda: ledger.void(user_id=self.user_id, grant_id=self.lot_ids[place], reason="", initiated_by="test"),
            lambda: self.model.void(place),
        )

    @rule(hours=st.integers(1, 4))
    def hours_pass(self, hours):
        """Every time that lies ahead comes nearer, which is all that a clock does. Turns that run renew their holds."""
        self.step(lambda: self.shift(hours), lambda: None)

    def shift(self, hours):
        self.model.hour += hours
        passed = timedelta(hours=hours)
        with connection.cursor() as cursor:
            cursor.execute(
                """WITH lots AS (
                        UPDATE credit_grants SET expires_at = expires_at - %(passed)s WHERE user_id = %(user)s),
                        holds AS (UPDATE credit_holds SET expires_at = expires_at - %(passed)s WHERE user_id = %(user)s)
                   UPDATE credit_wallets SET next_expiry_at = next_expiry_at - %(passed)s WHERE user_id = %(user)s""",
                {"passed": passed, "user": self.user_id},
            )
        running = [self.references[work].id for work in self.model.holds]
        ledger.renew_holds(reference_type="turn", reference_ids=running)

    def step(self, real, expected) -> bool:
        """True where it happened; False where the contract and the ledger refused it alike."""
        self.is_sound = False
        self.steps += 1
        try:
            expected()
        except Refused:
            with pytest.raises(REFUSALS) as refusal, transaction.atomic():
                real()
            self.facts |= {"refused", refusal.type.__name__}
            happened = False
        else:
            real()
            happened = True
        self.compare()
        if self.steps % CHECKED_EVERY == 0:
            assert list(check_wallets(user_id=self.user_id)) == []
        self.is_sound = True
        return happened

    def compare(self):
        model = self.model
        with connection.cursor() as cursor:
            cursor.execute(_STATE, [len(self.seen), self.user_id])
            cursor.nextset()
            cursor.nextset()
            (balance, held, seq, is_scoped, knows_expiry, total, open_holds, late, stray, lots, new) = cursor.fetchone()
        assert balance == total == model.balance
        assert held == open_holds == model.held
        assert (is_scoped, knows_expiry) == (any(lot.left and lot.aliases for lot in model.lots), True)
        assert (late, stray) == (0, 0)
        for kind, amount, number, balance_after, id_ in decoded(new):
            before = self.seen[-1][2] if self.seen else 0
            self.seen.append((kind, amount, balance_after))
            assert (number, balance_after) == (len(self.seen), before + amount)
            if kind == "debit":
                self.debit_ids.append(UUID(id_))
        assert seq == len(self.seen)
        assert [(kind, amount) for kind, amount, _ in self.seen] == model.entries
        lots = decoded(lots)
        self.lot_ids = [UUID(id_) for _, _, id_ in lots]
        assert [(left, is_voided) for left, is_voided, _ in lots] == [(lot.left, lot.is_voided) for lot in model.lots]
        assert sum(left for left, _, _ in lots) == max(balance, 0)
        if self.is_careful:
            assert balance >= held
        self.note()

    def note(self):
        model = self.model
        facts = {
            "overdrawn": model.balance < 0,
            "two turns in flight": len(model.holds) > 1,
            "refunded": any(kind == "refund" for kind, _ in model.entries),
            "expired": any(kind == "expiry" for kind, _ in model.entries),
        }
        self.facts |= {name for name, is_true in facts.items() if is_true}

    def teardown(self):
        try:
            if self.is_sound:
                assert list(check_wallets(user_id=self.user_id)) == []
        finally:
            transaction.set_rollback(True)
            self.transaction.__exit__(None, None, None)
        self.tally.update(["sequences", *self.facts])
        self.tally["steps"] += self.steps


@pytest.mark.parametrize("part", range(1, PARTS + 1))
def test_no_sequence_of_steps_makes_the_ledger_and_the_contract_disagree(part):
    price_tool("search", str(credits(TOOL_PRICE)))
    first = int(os.environ.get("LEDGER_MACHINE_SEED", "0"))
    machine = type("Machine", (LedgerMachine,), {"tally": Counter()})
    run_state_machine_as_test(
        seed(first * PARTS + part)(machine),
        settings=settings(
            max_examples=SEQUENCES, stateful_step_count=STEPS, deadline=None, database=None,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck), print_blob=True,
            report_multiple_bugs=False,
        ),
    )  # fmt: skip
    tally = machine.tally
    assert tally["sequences"] >= SEQUENCES
    assert tally["steps"] >= 30 * tally["sequences"]
    assert tally["overdrawn"] >= tally["sequences"] / 10
    for fact in ("two turns in flight", "refunded", "expired", "refused"):
        assert tally[fact] >= tally["sequences"] / 10, fact
    assert tally["SpendingLimitReached"] >= tally["sequences"] / 20
