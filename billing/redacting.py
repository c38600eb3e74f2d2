"""What of money rows is words: taken away where a person is erased, while the rows and their numbers stay."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from billing.models import ToolCallEvent


def redact_tool_calls(*, turn_ids: Iterable[UUID], instead: str) -> None:
    """Take the words out of the tool calls of these turns: who asked, for what, and which tool where it was free.

    A tool that does not exist is named as a model wrote it, and a digest can be guessed back where arguments are few.

    Locks:       none; no money moves.
    Idempotent:  yes.
    """
    calls = ToolCallEvent.objects.filter(turn_id__in=list(turn_ids))
    calls.update(agent_key=instead, arguments_hash="")
    calls.filter(credits_charged=0).update(tool_name=instead)
