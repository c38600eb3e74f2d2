"""Tool calls that have a price: their debits, lots, holds, limits and refunds, and what the database refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from billing import ledger, reports
from billing.costs import compare_day
from billing.errors import InsufficientCredits, RefundExceedsDebit, SpendingLimitReached
from billing.invariants import check_wallets
from billing.ledger import NO_MODEL, Place, Reference, Share
from billing.models import (
    Alert,
    CostDay,
    CreditGrant,
    CreditHold,
    CreditTransaction,
    CreditWallet,
    LLMCallEvent,
    ShadowRefusal,
    SpendingLimit,
    ToolCallEvent,
)
from billing.redacting import redact_tool_calls
from billing.reports.usage import UsageQuery, usage_report
from billing.tests.db.test_limits import everything_is_ones_own, limit, spent  # noqa: F401 - fixture
from billing.tests.makers import credits, make_call, make_hold, make_tool, make_wallet, settle, share
from config.core.ids import uuid7
from pricing.rating import RatedTool, TokenPools
from pricing.tests.makers import SEED, SEED_REVISION, price_tool

pytestmark = pytest.mark.django_db
FREE = TokenPools()


@pytest.fixture(autouse=True)
def prices():
    price_tool("search", "0.25")


def tools(amount, agent_id=None):
    return Share(NO_MODEL, credits(amount), agent_id)


def use(user_id, *statuses, pools=TokenPools(output=10_000), **fields):
    """A turn with one LLM call, of one credit unless told otherwise, that asked for a search for each of these."""
    reference = make_hold(user_id, "0", enforcement="off", **fields)
    made = [
        make_tool(status=status, call_index=index, turn_id=reference.id) for index, status in enumerate(statuses, 1)
    ]
    settle(user_id, reference, make_call(pools, turn_id=reference.id), *made)
    return reference


def entries(user_id):
    rows = CreditTransaction.objects.filter(user_id=user_id).order_by("seq")
    return [(row.kind, f"{row.amount:f}", row.reason) for row in rows]


def lots(user_id):
    rows = CreditGrant.objects.filter(user_id=user_id).order_by("created_at", "id")
    return [(f"{row.remaining.normalize():f}", row.aliases) for row in rows]


def at_commit(sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def test_each_tool_call_that_succeeded_has_one_debit_of_its_price_and_no_other_has_any():
    user_id = make_wallet("5")
    reference = use(user_id, "success", "cached", "refused", "error", "timeout", "cancelled", "success")
    assert entries(user_id)[1:] == [
        ("debit", "-1.00000000", "agent"), ("debit", "-0.25000000", "tool"), ("debit", "-0.25000000", "tool"),
    ]  # fmt: skip
    rows = ToolCallEvent.objects.filter(turn_id=reference.id).order_by("call_index")
    assert [f"{row.credits_charged:f}" for row in rows] == ["0.25000000", *["0.00000000"] * 5, "0.25000000"]
    assert [f"{row.credits_burned:f}" for row in rows] == ["0.2500", *["0.0000"] * 5, "0.2500"]
    debits = CreditTransaction.objects.filter(user_id=user_id, reason="tool").order_by("seq")
    assert [debit.event_id for debit in debits] == [rows[0].id, rows[6].id]
    assert {(debit.reference_type, debit.reference_id) for debit in debits} == {("turn", reference.id)}
    assert {(row.pricing_version, row.pricing_revision) for row in rows} == {(SEED, SEED_REVISION + 1)}
    hold = CreditHold.objects.get(reference_id=reference.id)
    assert (hold.status, hold.charged, hold.balance_after) == ("settled", Decimal("1.5"), Decimal("3.5"))
    event = LLMCallEvent.objects.get(turn_id=reference.id)
    assert {row.created_at for row in rows} == {event.created_at}


def test_a_tool_without_a_price_has_a_row_and_no_debit():
    user_id = make_wallet("5")
    reference = make_hold(user_id, "0", enforcement="off")
    settle(user_id, reference, make_call(FREE, turn_id=reference.id), make_tool("file_read", turn_id=reference.id))
    assert entries(user_id) == [("grant", "5.00000000", "test")]
    assert ToolCallEvent.objects.get(turn_id=reference.id).credits_charged == 0
    assert CreditHold.objects.get(reference_id=reference.id).status == "released"


def test_settling_again_bills_no_tool_twice():
    user_id = make_wallet("5")
    reference = make_hold(user_id, "2")
    items = make_call(turn_id=reference.id), make_tool(turn_id=reference.id)
    first, again = settle(user_id, reference, *items), settle(user_id, reference, *items)
    assert (first.charged, again.charged, again.settled_now) == (Decimal("1.25"), Decimal("1.25"), False)
    assert CreditTransaction.objects.filter(user_id=user_id, kind="debit").count() == 2


def test_a_tool_that_costs_more_than_was_held_is_billed_in_full():
    user_id = make_wallet("5")
    reference = make_hold(user_id, "1")
    settlement = settle(user_id, reference, make_call(turn_id=reference.id), make_tool(turn_id=reference.id))
    assert (settlement.charged, settlement.exceeded_hold) == (Decimal("1.25"), True)
    assert LLMCallEvent.objects.get(user_id=user_id).usage_flags == []


def test_a_call_after_a_tool_is_flagged_where_both_are_above_the_hold():
    user_id = make_wallet("5")
    reference = make_hold(user_id, "2.2")
    settle(
        user_id, reference, make_call(turn_id=reference.id), make_call(turn_id=reference.id, call_index=2),
        make_tool(turn_id=reference.id),
    )  # fmt: skip
    flags = LLMCallEvent.objects.filter(user_id=user_id).order_by("call_index").values_list("usage_flags", flat=True)
    assert list(flags) == [[], ["charge_above_hold"]]


def test_tools_are_billed_after_the_call_that_asked_for_them_and_before_the_next():
    user_id = make_wallet("5")
    reference = make_hold(user_id, "4")
    settle(
        user_id, reference,
        make_tool(turn_id=reference.id, call_index=3, asked_by=2),
        make_tool(turn_id=reference.id, call_index=2),
        make_call(turn_id=reference.id, call_index=2, purpose="synthesis"),
        make_tool(turn_id=reference.id),
        make_call(turn_id=reference.id),
    )  # fmt: skip
    assert [reason for _, _, reason in entries(user_id)[1:]] == ["agent", "tool", "tool", "synthesis", "tool"]
    billed = CreditTransaction.objects.filter(user_id=user_id, reason="tool").order_by("seq")
    rows = ToolCallEvent.objects.in_bulk([entry.event_id for entry in billed])
    assert [rows[entry.event_id].call_index for entry in billed] == [1, 2, 3]


def test_a_lot_for_some_aliases_pays_no_tool_while_another_can_and_before_an_overdraft():
    user_id = make_wallet("10", aliases=("gpt-4o-mini",), priority=1)
    make_wallet("0.3", user_id=user_id)
    use(user_id, "success")
    assert lots(user_id) == [("9", ["gpt-4o-mini"]), ("0.05", [])]
    use(user_id, "success", pools=FREE)
    assert lots(user_id) == [("8.8", ["gpt-4o-mini"]), ("0", [])]


def test_in_hard_mode_a_tool_is_held_for_by_lots_that_are_for_everything_alone():
    user_id = make_wallet("10", aliases=("gpt-4o-mini",))
    make_wallet("0.3", user_id=user_id)
    reference = make_hold(user_id, "1")
    ledger.extend_hold(user_id=user_id, reference=reference, shares=[share("1"), tools("0.3")], enforcement="hard")
    before = CreditHold.objects.get(reference_id=reference.id)
    with pytest.raises(InsufficientCredits) as refused, transaction.atomic():
        ledger.extend_hold(
            user_id=user_id, reference=reference, shares=[share("1"), tools("0.30000001")], enforcement="hard"
        )
    assert (refused.value.members["available"], refused.value.members["required"]) == ("0.30000000", "0.30000001")
    assert refused.value.model_alias == NO_MODEL
    kept = CreditHold.objects.get(reference_id=reference.id)
    assert (kept.amount, kept.shares) == (Decimal("1.3"), before.shares)
    assert kept.shares == [["gpt-4o-mini", None, "1.00000000"], ["", None, "0.30000000"]]


def test_what_another_turn_holds_for_tools_is_not_free_for_a_third():
    user_id = make_wallet("10", aliases=("gpt-4o-mini",))
    make_wallet("0.3", user_id=user_id)
    one, two = make_hold(user_id, "1"), make_hold(user_id, "1")
    ledger.extend_hold(user_id=user_id, reference=one, shares=[share("1"), tools("0.25")], enforcement="hard")
    with pytest.raises(InsufficientCredits), transaction.atomic():
        ledger.extend_hold(user_id=user_id, reference=two, shares=[share("1"), tools("0.25")], enforcement="hard")
    assert CreditWallet.objects.get(user_id=user_id).held == Decimal("2.25")


def test_what_hard_would_not_have_let_run_is_written_down_under_warn():
    user_id = make_wallet("1")
    reference = make_hold(user_id, "1", enforcement="warn")
    ledger.extend_hold(user_id=user_id, reference=reference, shares=[share("1"), tools("0.25")], enforcement="warn")
    row = ShadowRefusal.objects.get(user_id=user_id)
    assert (row.stage, row.model_alias, row.required) == ("between_calls", NO_MODEL, Decimal("0.25"))


@pytest.mark.parametrize("subject", ["room", "agent", "api_key", "user"])
def test_a_spending_limit_counts_tools_and_refuses_them(subject):
    user_id = make_wallet("100")
    subject_id = user_id if subject == "user" else uuid7()
    place = {"room": Place(room_id=subject_id), "api_key": Place(api_key_id=subject_id)}.get(subject, Place())
    agent_id = subject_id if subject == "agent" else uuid7()
    row = limit(user_id, subject, subject_id, "2")
    reference = make_hold(user_id, "1", place=place, agent_id=agent_id)
    held = [share("1", agent_id=agent_id), tools("1", agent_id)]
    ledger.extend_hold(user_id=user_id, reference=reference, shares=held, enforcement="off")
    with pytest.raises(SpendingLimitReached), transaction.atomic():
        over = [share("1", agent_id=agent_id), tools("1.00000001", agent_id)]
        ledger.extend_hold(user_id=user_id, reference=reference, shares=over, enforcement="off")
    ids = {"turn_id": reference.id, "agent_id": agent_id, "room_id": place.room_id or uuid7()}
    settle(user_id, reference, make_call(**ids), make_tool(**ids), make_tool(call_index=2, **ids))
    assert spent(row) == Decimal("1.5")
    assert ToolCallEvent.objects.filter(user_id=user_id, api_key_id=place.api_key_id).count() == 2
    # A limit that is made later begins with the same.
    again = limit(user_id, subject, subject_id, "2", period="month")
    assert again.spent == Decimal("1.5")
    assert list(check_wallets(user_id=user_id)) == []
    SpendingLimit.objects.filter(id=row.id).update(spent=1)
    assert [finding.invariant for finding in check_wallets(user_id=user_id)] == ["L11"]
    SpendingLimit.objects.filter(id=row.id).update(spent=Decimal("1.5"))


def test_a_tool_that_takes_a_wallet_below_the_threshold_alerts(settings):
    settings.LOW_BALANCE_THRESHOLD = credits("5")
    user_id = make_wallet("5.2")
    use(user_id, "error", pools=FREE)
    assert list(Alert.objects.filter(user_id=user_id)) == []
    use(user_id, "success", pools=FREE)
    assert [alert.kind for alert in Alert.objects.filter(user_id=user_id)] == ["low_balance"]


def test_a_tools_debit_is_refunded_and_so_is_its_turn():
    user_id = make_wallet("5")
    reference = use(user_id, "success", "success")
    debit = CreditTransaction.objects.filter(user_id=user_id, reason="tool").first()
    give = {"user_id": user_id, "reason": "test", "initiated_by": "staff"}
    ledger.refund(reference=Reference("entry", debit.id), **give)
    with pytest.raises(RefundExceedsDebit), transaction.atomic():
        ledger.refund(reference=Reference("entry", debit.id), amount=credits("0.00000001"), **give)
    ledger.refund(reference=reference, **give)
    assert [amount for kind, amount, _ in entries(user_id) if kind == "refund"] == ["0.25000000", "1.25000000"]
    assert CreditWallet.objects.get(user_id=user_id).balance == Decimal(5)


def test_usage_adds_up_to_the_ledger_and_shows_tools_as_a_purpose_without_an_alias():
    user_id = make_wallet("5")
    reference = use(user_id, "success", "error", "success")
    now = datetime.now(UTC)
    query = UsageQuery(now - timedelta(days=1), now + timedelta(days=1), tz=UTC, user_id=user_id,
                             group_by=("purpose", "model_alias"))  # fmt: skip
    report = usage_report(query)
    assert report["totals"]["credits_charged"] == Decimal("1.5")
    rows = [
        (row["purpose"], row["model_alias"], row["calls"], row["output_tokens"], f"{row['credits_charged']:f}")
        for row in report["breakdown"]
    ]
    assert rows == [("agent", "gpt-4o-mini", 1, 10_000, "1.00000000"), ("tool", "", 2, 0, "0.50000000")]
    assert [bucket["credits_charged"] for bucket in report["buckets"]] == [Decimal("1.5")]
    turn = reports.usage_of_turns([reference.id])[reference.id]
    assert (turn.llm_calls, turn.credits_burned, turn.credits_charged) == (1, Decimal("1.5"), Decimal("1.5"))


def test_costs_are_compared_without_tools_whose_costs_nobody_knows():
    user_id = make_wallet("5")
    use(user_id, "success")
    yesterday = datetime.now(UTC) - timedelta(days=1)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET LOCAL session_replication_role = replica")
        for table in ("llm_call_events", "tool_call_events"):
            cursor.execute(f"UPDATE {table} SET created_at = %s WHERE user_id = %s", [yesterday, user_id])
        cursor.execute("SET LOCAL session_replication_role = origin")
    compare_day(yesterday.date())
    assert [(day.model_alias, day.credits_charged) for day in CostDay.objects.all()] == [("gpt-4o-mini", Decimal(1))]


# What the database refuses

COPIED = """
CREATE TEMP TABLE copied ON COMMIT DROP AS SELECT * FROM tool_call_events WHERE user_id = %s LIMIT 1"""


CHANGES = [
    *(f"UPDATE {{}} SET {change}" for change in (
        "credits_charged = 0", "credits_burned = 0", "status = 'error'", "tool_name = 'x'", "user_id = id",
        "pricing_revision = 8", "latency_ms = 9, agent_key = 'x'", "created_at = now()",
    )),
    "DELETE FROM {}", "TRUNCATE {} CASCADE",
]  # fmt: skip


def test_a_person_that_is_erased_leaves_numbers_and_no_words():
    user_id = make_wallet("5")
    reference = make_hold(user_id, "0", enforcement="off")
    other = use(user_id, "success")
    settle(
        user_id, reference, make_call(FREE, turn_id=reference.id), make_tool(turn_id=reference.id),
        make_tool("my secret tool", "error", turn_id=reference.id, call_index=2),
    )  # fmt: skip
    before = entries(user_id)
    for _ in range(2):
        redact_tool_calls(turn_ids=[reference.id], instead="erased")
    rows = ToolCallEvent.objects.filter(user_id=user_id).order_by("turn_id", "call_index")
    told = {(row.turn_id, row.tool_name, row.agent_key, row.arguments_hash) for row in rows}
    assert told == {
        (reference.id, "search", "erased", ""), (reference.id, "erased", "erased", ""),
        (other.id, "search", "ann", "0" * 64),
    }  # fmt: skip
    assert entries(user_id) == before
    assert list(check_wallets(user_id=user_id)) == []


@pytest.mark.parametrize("verb", CHANGES)
def test_events_of_tools_are_never_changed_or_deleted(verb):
    use(make_wallet("5"), "success")
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with pytest.raises(DatabaseError, match="Cannot (update or delete|truncate)"), transaction.atomic():
            cursor.execute(verb.format("tool_call_events"))


def test_the_database_refuses_a_tools_event_without_its_debit():
    user_id = make_wallet("5")
    use(user_id, "success")
    with connection.cursor() as cursor:
        cursor.execute(COPIED, [user_id])
        cursor.execute("UPDATE copied SET id = gen_random_uuid(), call_index = 2")
    with pytest.raises(IntegrityError, match="L3: event"), transaction.atomic():
        at_commit("INSERT INTO tool_call_events SELECT * FROM copied")
    assert ToolCallEvent.objects.count() == 1


@pytest.mark.parametrize("debited", ["no event", "another amount", "an event of somebody else", "a free event"])
def test_the_database_refuses_a_debit_without_its_event(debited, monkeypatch):
    """The posting is right in every other way: sums, lots, chain and hold."""
    user_id, bob = make_wallet("5"), make_wallet("5")
    other = use(bob, "error")
    reference = make_hold(user_id, "1")
    before = entries(user_id)
    events = {
        "no event": uuid7(),
        "an event of somebody else": ToolCallEvent.objects.get(turn_id=other.id).id,
        "a free event": uuid7(),
        "another amount": uuid7(),
    }
    at = credits("0.25") if debited != "another amount" else credits("0.3")
    tool = make_tool(turn_id=reference.id, event_id=events[debited], rated=RatedTool(Decimal("0.25"), at))
    real = ledger.settling.tool_event_row

    def written(call, **fields):
        charged = {"a free event": "0", "another amount": "0.25"}[debited]
        return real(call, **fields) | {"credits_charged": charged}

    if debited in {"no event", "an event of somebody else"}:
        monkeypatch.setattr("billing.ledger.writing._TOOLS", "")
    else:
        monkeypatch.setattr("billing.ledger.settling.tool_event_row", written)
    with (
        pytest.raises(
            IntegrityError, match="L3: entry" if debited in {"no event", "an event of somebody else"} else "L3: e"
        ),
        transaction.atomic(),
    ):
        settle(user_id, reference, make_call(FREE, turn_id=reference.id), tool)
        at_commit("SELECT 1")
    assert entries(user_id) == before


def test_no_id_is_an_event_of_both_kinds():
    user_id = make_wallet("5")
    use(user_id, "success")
    paid = ToolCallEvent.objects.get(user_id=user_id)
    call = make_call(FREE)
    reference = make_hold(user_id, "0", enforcement="off")
    with connection.cursor() as cursor:
        settle(user_id, reference, call)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("CREATE TEMP TABLE calls ON COMMIT DROP AS SELECT * FROM llm_call_events WHERE id = %s",
                       [call.event_id])  # fmt: skip
        cursor.execute("UPDATE calls SET id = %s, call_index = 9, credits_charged = 0.25", [paid.id])
        cursor.execute(COPIED, [user_id])
        cursor.execute("UPDATE copied SET id = %s, call_index = 9, credits_charged = 0", [call.event_id])
    for insert in ("llm_call_events SELECT * FROM calls", "tool_call_events SELECT * FROM copied"):
        with pytest.raises(IntegrityError, match="L3: event"), transaction.atomic():
            at_commit(f"INSERT INTO {insert}")


@pytest.mark.parametrize("column", ["credits_charged", "credits_burned"])
@pytest.mark.parametrize("value", ["-0.0001", "1000000.0001", "'NaN'"])
def test_the_database_refuses_what_no_tool_costs(column, value):
    user_id = make_wallet("5")
    use(user_id, "success")
    with connection.cursor() as cursor:
        cursor.execute(COPIED, [user_id])
        cursor.execute(f"UPDATE copied SET id = gen_random_uuid(), call_index = 2, {column} = {value}")
    with pytest.raises(IntegrityError, match="tool_call_never_negative"), transaction.atomic():
        at_commit("INSERT INTO tool_call_events SELECT * FROM copied")
