"""What viewers of a turn are told of its tools."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from config.core.money import ledger_text


def started(agent_key: str, tool_name: str, arguments: str) -> dict[str, Any]:
    return {"agent_key": agent_key, "tool_name": tool_name, "arguments": shown(arguments)}


def finished(agent_key: str, tool_name: str, status: str, latency_ms: int, charged: Decimal) -> dict[str, Any]:
    return {
        "agent_key": agent_key,
        "tool_name": tool_name,
        "status": status,
        "latency_ms": latency_ms,
        "credits_charged": ledger_text(charged),
    }


def shown(arguments: str) -> Any:
    """The arguments as an object, or the text that a model wrote in place of one."""
    try:
        value = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return arguments
    return value if isinstance(value, dict) else arguments
