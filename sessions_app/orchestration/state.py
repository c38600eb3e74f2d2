"""What flows through the graph (plain data) and what a run brings along (ports, passed as runtime context)."""

from __future__ import annotations

import operator
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Protocol, TypedDict

from sessions_app.context.window import Utterance
from sessions_app.turns.planning import Plan, Speaker


class TurnState(TypedDict):
    """`next`: index of the speaker whose turn it is. `answers`: (agent_key, agent_name, text), in order of speaking."""

    next: int
    answers: Annotated[list[tuple[str, str, str]], operator.add]


class Reply(Protocol):
    """What a model call gave: text, empty when it failed."""

    @property
    def text(self) -> str: ...


Ask = Callable[[Speaker, tuple[Utterance, ...]], Awaitable[Reply | None]]


@dataclass(frozen=True, slots=True)
class TurnPorts:
    """The only ways out of the graph.

    `ask(speaker, heard)` makes one metered model call and streams its text; it does not raise for a provider's fault,
    and gives None when the wallet allows no further call. Nodes never touch billing, and cannot forget to pay.
    """

    plan: Plan
    ask: Ask


def start() -> TurnState:
    return {"next": 0, "answers": []}
