"""What is printed while it runs, and the tables at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median

from config.embedded.chaos.evidence import Evidence, Fault
from config.embedded.chaos.faults import KINDS
from config.embedded.chaos.oracle import heard_for_s
from config.embedded.terminal import Terminal, table

SHOWN_VIOLATIONS = 50


def show_fault(terminal: Terminal, number: int, of: int, fault: Fault, elapsed_s: float) -> None:
    own = f", {fault.calls_open_in_victim} of them its own" if fault.ready_at is None else ""
    back = "" if fault.ready_at is None else f", back after {fault.ready_at - fault.killed_at:.2f} s"
    terminal.line(
        f"{elapsed_s:6.1f} s  kill {number:>3} of {of}: {fault.victim:<12}"
        f" with {fault.calls_open} turns inside a call{own}{back}"
    )


def show_summary(terminal: Terminal, evidence: Evidence, answers: Counter[str], problems: Sequence[str]) -> None:
    terminal.heading("Faults (kill -9)")
    _show(terminal, ("process", "kills", "calls open, least", "median", "its own, least"), _fault_rows(evidence))
    terminal.heading("Turns")
    _show(terminal, ("status", "turns"), _count_rows(Counter(turn.status for turn in evidence.turns)))
    terminal.heading("Calls that the provider saw")
    _show(terminal, ("answer", "billed", "calls"), _call_rows(evidence))
    terminal.heading("Requests by idempotency key")
    kinds = Counter(attempt.kind for attempt in evidence.attempts)
    repeated = Counter(attempt.kind for attempt in evidence.attempts if attempt.retries)
    _show(terminal, ("kind", "keys", "asked again"), [[k, str(n), str(repeated[k])] for k, n in sorted(kinds.items())])
    terminal.quiet_line("Answers: " + ", ".join(f"{name} × {count}" for name, count in answers.most_common()))
    terminal.quiet_line(_freed(evidence))
    terminal.quiet_line(_lost_answers(evidence))
    terminal.heading(f"Violations: {len(problems)}")
    for problem in problems[:SHOWN_VIOLATIONS]:
        terminal.line(f"- {problem}")
    if len(problems) > SHOWN_VIOLATIONS:
        terminal.line(f"- and {len(problems) - SHOWN_VIOLATIONS} more")


def _show(terminal: Terminal, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for line in table(columns, rows):
        terminal.line(line)


def _fault_rows(evidence: Evidence) -> list[list[str]]:
    rows = []
    for kind in KINDS:
        faults = [fault for fault in evidence.faults if fault.kind == kind]
        calls = [fault.calls_open for fault in faults] or [0]
        own = str(min(fault.calls_open_in_victim for fault in faults)) if kind in {"web", "worker"} and faults else "-"
        rows.append([kind, str(len(faults)), str(min(calls)), f"{median(calls):g}", own])
    return rows


def _count_rows(counts: Counter[str]) -> list[list[str]]:
    return [[name, str(count)] for name, count in sorted(counts.items())] + [["all", str(counts.total())]]


def _call_rows(evidence: Evidence) -> list[list[str]]:
    billed = {event.request_id: event for event in evidence.events if event.charged}
    counts = Counter(
        (
            "in full" if call.is_complete else "broken off",
            billed[call.request_id].usage_source if call.request_id in billed else "nothing",
        )
        for call in evidence.calls
    )
    return [[*names, str(count)] for names, count in sorted(counts.items())]


def _lost_answers(evidence: Evidence) -> str:
    """Answers in full that nobody is billed for: their process died before it could journal them."""
    billed = {event.request_id for event in evidence.events if event.charged}
    lost = [call for call in evidence.calls if call.is_complete and call.request_id not in billed]
    heard_s = [seconds for call in lost if (seconds := heard_for_s(evidence, call))]
    return (
        f"{len(lost)} answers in full died unbilled with their process: {len(lost) - len(heard_s)} while PostgreSQL was"
        f" away or the process was gone, the others at most {max(heard_s, default=0.0):.2f} s after they ended."
    )


def _freed(evidence: Evidence) -> str:
    delays = sorted(delay for _, delay in evidence.delays_to_free())
    if not delays:
        return "No turn lost its process."
    return (
        f"{len(delays)} turns lost their process and were ended {median(delays):.1f} s (median),"
        f" {delays[-1]:.1f} s (longest) after its death."
    )
