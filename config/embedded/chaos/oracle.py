"""Whether money is right, judged from the provider's journal and stored rows, with nothing from the program."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal

from config.embedded.bill_check import credits_of
from config.embedded.chaos.evidence import ENDED, Attempt, Evidence, ProviderCall, StoredEvent, StoredTurn

# A call that ended this long before its process was killed had been journaled, unless the database was away.
JOURNAL_GRACE_S = 5.0
# Within this time of the database's return everything that waited for it has been written.
CATCH_UP_S = 2.0


def violations(evidence: Evidence, *, free_within_s: float) -> list[str]:
    """Everything that is not as it must be, in one sentence each.

    `free_within_s` is how long a turn may go on blocking its session after its process was killed.
    """
    return [
        *_unfinished(evidence),
        *_freed_late(evidence, free_within_s),
        *_wrong_debits(evidence),
        *_billed_unseen(evidence),
        *_wrong_calls(evidence),
        *_wrong_wallets(evidence),
        *_wrong_attempts(evidence),
    ]


def _unfinished(evidence: Evidence) -> Iterator[str]:
    for turn in evidence.turns:
        if turn.status not in ENDED:
            yield f"turn {turn.id} has no end: it is {turn.status}"


def _freed_late(evidence: Evidence, free_within_s: float) -> Iterator[str]:
    """Counted from the last fault that holds a sweep up: all of them but the web processes' do."""
    for turn, delay_s in evidence.delays_to_free():
        finished_at = turn.finished_at or 0.0
        back_at = [fault.ready_at or fault.killed_at for fault in evidence.faults if fault.kind != "web"]
        quiet_since = max([finished_at - delay_s, *(moment for moment in back_at if moment < finished_at)])
        if finished_at - quiet_since > free_within_s:
            yield f"turn {turn.id} blocked its session for {finished_at - quiet_since:.1f} s after its process died"


def _wrong_debits(evidence: Evidence) -> Iterator[str]:
    seen: set[str] = set()
    for event in evidence.events:
        if event.request_id in seen:
            yield f"call {event.request_id} has more than one event"
        seen.add(event.request_id)
        expected = (-event.charged,) if event.charged else ()
        if event.debits != expected:
            debits = ", ".join(map(str, event.debits)) or "none"
            yield f"call {event.request_id} costs {event.charged}, its debits are: {debits}"
        if event.charged != credits_of(_counts(event)):
            yield f"call {event.request_id} is charged {event.charged}, its tokens cost {credits_of(_counts(event))}"


def _billed_unseen(evidence: Evidence) -> Iterator[str]:
    seen = {call.request_id for call in evidence.calls}
    for event in evidence.events:
        if event.charged and event.request_id not in seen:
            yield f"call {event.request_id} is billed {event.charged}, the provider never saw it"


def _wrong_calls(evidence: Evidence) -> Iterator[str]:
    turns = {turn.id: turn for turn in evidence.turns}
    events = {event.request_id: event for event in evidence.events}
    by_request: dict[str, list[ProviderCall]] = defaultdict(list)
    last_step: dict[str, int] = defaultdict(int)
    for call in evidence.calls:
        by_request[call.request_id].append(call)
        last_step[call.turn_id] = max(last_step[call.turn_id], call.step_index)
    for request_id, calls in by_request.items():
        turn, event = turns.get(calls[0].turn_id), events.get(request_id)
        if len(calls) > 1:
            yield f"call {request_id} reached the provider {len(calls)} times"
        elif turn is None:
            yield f"call {request_id} was made for a turn that is not stored"
        elif event is None:
            yield f"call {request_id} has no event"
        elif problem := _problem(evidence, calls[0], event, turn, is_last=last_step[turn.id] == calls[0].step_index):
            yield f"call {request_id} by {calls[0].process} ({turn.status}, event {event.status}): {problem}"


def _problem(
    evidence: Evidence, call: ProviderCall, event: StoredEvent, turn: StoredTurn, *, is_last: bool
) -> str | None:
    if _is_exact(call, event):
        return None if call.is_complete else "billed in full, though the answer was never sent in full"
    if is_last and _is_estimate_of_what_was_sent(call, event):
        # The client hung up, at its user's wish, as billing-policy.md says.
        return None if turn.status == "cancelled" else "estimated, though nobody cancelled"
    if event.charged:
        return (
            f"billed {event.fresh}+{event.output} tokens, the provider counted {call.input_tokens}+{call.output_tokens}"
        )
    if turn.status == "cancelled" and is_last and not call.sent_text:
        return None
    return _why_not_lost(evidence, call, event, is_last=is_last)


def _why_not_lost(evidence: Evidence, call: ProviderCall, event: StoredEvent, *, is_last: bool) -> str | None:
    """A call may go unbilled only with its process, and only if it was that process's last word on the turn."""
    death = evidence.death_of(call.process)
    if death is None:
        return "not billed, and its process lived"
    if "process_died" not in event.flags:
        return "not billed, and not marked as lost with its process"
    if not is_last:
        return "not billed, though the turn went on after it"
    unjournaled_s = heard_for_s(evidence, call)
    if unjournaled_s > JOURNAL_GRACE_S:
        return f"not billed, though its process lived for {unjournaled_s:.1f} s after the answer"
    return None


def heard_for_s(evidence: Evidence, call: ProviderCall) -> float:
    """How long the process lived on after an answer in full; 0 where the database was away, so that it could not say.

    Of an answer that came after the kill nobody heard the end.
    """
    death = evidence.death_of(call.process)
    if not call.is_complete or call.ended_at is None or death is None or death < call.ended_at:
        return 0.0
    return 0.0 if _database_was_away(evidence, call.ended_at, death) else death - call.ended_at


def _database_was_away(evidence: Evidence, start: float, end: float) -> bool:
    return any(
        fault.killed_at < end and (fault.ready_at or end) + CATCH_UP_S > start
        for fault in evidence.faults
        if fault.kind == "postgresql"
    )


def _is_exact(call: ProviderCall, event: StoredEvent) -> bool:
    """A cancel between the report of usage and the end of the answer finds the report, too: it is `partial` then."""
    counts = (event.fresh, event.cached, event.cache_write, event.output)
    is_reported = event.usage_source == ("partial" if event.status == "cancelled" else "provider")
    return is_reported and counts == (call.input_tokens, 0, 0, call.output_tokens)


def _is_estimate_of_what_was_sent(call: ProviderCall, event: StoredEvent) -> bool:
    sent_tokens = -(-len(call.sent_text.encode()) // 4)
    return (
        event.usage_source == "estimated"
        and 0 < event.output <= sent_tokens
        and 0 < event.fresh <= call.body_bytes
        and not event.cached + event.cache_write
    )


def _counts(event: StoredEvent) -> dict[str, object]:
    return {
        "input_tokens_fresh": event.fresh,
        "input_tokens_cached": event.cached,
        "input_tokens_cache_write": event.cache_write,
        "output_tokens": event.output,
        "multiplier": event.multiplier,
    }


def _wrong_wallets(evidence: Evidence) -> Iterator[str]:
    spent: dict[str, Decimal] = defaultdict(Decimal)
    for event in evidence.events:
        spent[event.user_id] += event.charged
    for wallet in evidence.wallets:
        charged = spent[wallet.user_id]
        if -wallet.moved != charged or wallet.balance != wallet.granted - charged:
            yield (
                f"wallet of {wallet.user_id}: granted {wallet.granted}, calls cost {charged}, entries took"
                f" {-wallet.moved}, balance {wallet.balance}"
            )
        if wallet.held:
            yield f"wallet of {wallet.user_id}: {wallet.held} still held"


def _wrong_attempts(evidence: Evidence) -> Iterator[str]:
    turns = {turn.id: turn for turn in evidence.turns}
    by_key: dict[tuple[str, str], list[str]] = defaultdict(list)
    for turn in evidence.turns:
        if turn.key is not None:
            by_key[turn.user_id, turn.key].append(turn.id)
    for attempt in evidence.attempts:
        stored = by_key[attempt.user_id, attempt.key]
        if len(stored) > 1:
            yield f"key {attempt.key} made {len(stored)} turns"
        if attempt.turn_ids - set(stored):
            yield f"key {attempt.key} was answered with {sorted(attempt.turn_ids)}, stored are {stored}"
        yield from (f"{attempt.kind} {attempt.key}: {surprise}" for surprise in attempt.surprises)
        yield from _wrongly_told(attempt, turns)


def _wrongly_told(attempt: Attempt, turns: dict[str, StoredTurn]) -> Iterator[str]:
    for turn_id, status in attempt.told.items():
        stored = turns[turn_id].status if turn_id in turns else "not stored"
        if stored != status:
            yield f"turn {turn_id} was told to have ended as {status}, it is {stored}"
