"""What flows through the graph (plain data) and what a run brings along (ports, passed as runtime context)."""

from __future__ import annotations

import operator
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, TypedDict

from sessions_app.context.conversation import Utterance
from sessions_app.orchestration.asks import Ask
from sessions_app.turns.planning import Entry, Plan, Speaker


class TurnState(TypedDict):
    """`entry`: where the turn begins. `speakers`: who speaks in this round; `next`: the index of who speaks now.

    `answers`: (agent_key, agent_name, text), in order of speaking, of all rounds. `again`: whether the orchestrator
    asked for a second round. `round` counts from 1. `is_routed`: the orchestrator was understood, so it also has the
    last word.
    """

    entry: Entry
    speakers: tuple[Speaker, ...]
    next: int
    answers: Annotated[list[tuple[str, str, str]], operator.add]
    round: int
    again: bool
    is_routed: bool


class Reply(Protocol):
    """What a model call gave: text, empty when it failed."""

    @property
    def text(self) -> str: ...

    @property
    def http_status(self) -> int | None:
        """The provider's refusal where it refused, else None."""

    @property
    def failed(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class TurnPorts:
    """The only ways out of the graph.

    `ask(question)` makes one metered model call and streams its text; it does not raise for a provider's fault, and
    gives None when the wallet allows no further call. `summarise()` makes the notes that are due, or sees to it that
    calls are pruned instead. `emit` and `warn` tell the client. Nodes never touch billing, and cannot forget to pay.
    """

    plan: Plan
    ask: Callable[[Ask], Awaitable[Reply | None]]
    summarise: Callable[[], Awaitable[None]]
    emit: Callable[[str, dict[str, Any]], None]
    warn: Callable[[str, str], None]


def start(plan: Plan) -> TurnState:
    resumed = plan.resumption
    if resumed is not None:
        return {
            "entry": resumed.entry, "speakers": resumed.speakers, "next": 0, "answers": list(resumed.answers),
            "round": resumed.round, "again": resumed.again, "is_routed": resumed.entry != "route",
        }  # fmt: skip
    routes = plan.mode == "orchestrator"
    return {
        "entry": "route" if routes else "speak", "speakers": () if routes else plan.speakers, "next": 0, "answers": [],
        "round": 1, "again": False, "is_routed": False,
    }  # fmt: skip


def heard(state: TurnState) -> tuple[Utterance, ...]:
    return tuple(Utterance(*answer) for answer in state["answers"])
