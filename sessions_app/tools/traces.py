"""What tools did, as it is journaled with the model call that asked for it, and as its agent reads it later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sessions_app.tools.cutting import size_of
from sessions_app.tools.using import Outcome


def encode(outcome: Outcome) -> dict[str, Any]:
    """Plain JSON, for `turn_steps.context`. The result is kept for the agent's next turns."""
    return {
        "event_id": str(outcome.id),
        "tool_name": outcome.call.name,
        "arguments": outcome.call.arguments,
        "arguments_hash": outcome.arguments_hash,
        "status": outcome.status,
        "code": outcome.code,
        "latency_ms": outcome.latency_ms,
        "result_bytes": size_of(outcome.content),
        "result": outcome.content,
        "called_at": outcome.called_at.isoformat(),
    }


def written(tools: Sequence[Mapping[str, Any]]) -> str:
    """One model call's tools, as text."""
    return "\n\n".join(f"{tool['tool_name']}({tool['arguments']}):\n{tool['result']}" for tool in tools)
