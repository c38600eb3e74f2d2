"""What a turn that runs has said so far, from its event log: the messages that it would have if it ended now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sessions_app.models import Turn
from sessions_app.turns.event_log import TurnEvent
from sessions_app.turns.outcome import is_spoken
from sessions_app.turns.watching import kept_log, local_log


async def partial_messages(turn: Turn) -> list[dict[str, Any]]:
    """The answers of a running turn, whole or begun, without ids: they become messages when the turn ends.

    Empty while Redis is away and another process runs the turn.
    """
    log = local_log(turn.id)
    if log is None:
        log, _ = await kept_log(turn.id)
    return said_so_far(log.events)


def said_so_far(events: Iterable[TurnEvent]) -> list[dict[str, Any]]:
    """One message a call that the client sees the text of, in order of speaking."""
    said: list[dict[str, Any]] = []
    for event in events:
        if event.name == "agent_started" and is_spoken(event.data["purpose"], event.data):
            said.append({
                "id": None, "role": "assistant", "agent_key": event.data["agent_key"],
                "agent_name": event.data["agent_name"], "content": "", "created_at": None,
            })  # fmt: skip
        elif event.name == "chunk" and said:
            said[-1]["content"] += event.data["delta"]
    return [message for message in said if message["content"]]
