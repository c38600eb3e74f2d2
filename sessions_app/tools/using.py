"""Calls of tools, as models make them: each gets exactly one result, whatever it asks for and however it ends.

Permissions are asked at each call. Arguments are checked against the tool's schema. The same call again is answered
from memory, and a third time refused. What a tool returns is cut to the room that is left for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog
from pydantic import ValidationError

from config.core.ids import uuid7
from config.core.transactions import DATABASE_ERRORS
from sessions_app.llm.text import clean
from sessions_app.llm.types import ToolCall
from sessions_app.tools import limits
from sessions_app.tools.base import Scope, Status, Tool, ToolFailed
from sessions_app.tools.cutting import cut, size_of
from sessions_app.tools.permits import Permit
from sessions_app.tools.registry import TOOLS

log = structlog.get_logger(__name__)
_TOLD_ARGUMENT_ERRORS = 3
_ABSENT = "There is no such tool here."
_NOT_NOW = "The tool cannot be used right now."
_ENOUGH = "Answer with what you have."
# What is not there and what is not for this agent are one: the answer is the same, and so is what the event says.
_STATUS: dict[str, Status] = {
    "timeout": "timeout", "not_found": "refused", "not_permitted": "refused", "no_room": "refused",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one call. `content` is what the model reads, `code` says why where it is no success.

    `id` will be its event's.
    """

    call: ToolCall
    status: Status
    content: str
    code: str = ""
    latency_ms: int = 0
    called_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: UUID = field(default_factory=uuid7)

    @property
    def arguments_hash(self) -> str:
        return hashlib.sha256(canonical(self.call.arguments).encode()).hexdigest()


@dataclass(slots=True)
class Room:
    """Bytes that all results of a turn may still have."""

    left_bytes: int = limits.TURN_RESULT_BYTES


class ToolUse:
    """What one agent does with tools for one answer. Not for two at once."""

    def __init__(
        self, *, scope: Scope, offered: Sequence[str], permit: Callable[[], Awaitable[Permit | None]], room: Room,
        told: Callable[[ToolCall], None], ended: Callable[[Outcome], None],
    ) -> None:  # fmt: skip
        self._scope = scope
        self._offered = frozenset(offered)
        self._permit = permit
        self._room = room
        self._told = told
        self._ended = ended
        self.last: list[Outcome] = []
        self._asked: Counter[str] = Counter()
        self._known: dict[str, str] = {}
        self._calls = 0
        self._is_full = False
        self._errors_in_a_row = 0
        self._started_at = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether the next answer has to do without tools."""
        return (
            self._calls >= limits.CALLS
            or self._errors_in_a_row >= limits.ERRORS_IN_A_ROW
            or self._is_full
            or self._room.left_bytes < limits.LEAST_RESULT_BYTES
            or self._left_s() <= 0
        )

    def to_run(self, calls: Sequence[ToolCall]) -> list[ToolCall]:
        """Those that `answer` may run: neither refused, nor answered from memory, nor no tool of this agent's."""
        asked, made, found = self._asked.copy(), self._calls, []
        for call in calls:
            key = _key(call)
            asked[key] += 1
            if _why_not(made, asked[key]) is None:
                made += 1
                if call.name in self._offered and key not in self._known:
                    found.append(call)
        return found

    def refuse(self, calls: Sequence[ToolCall], *, code: str) -> None:
        """Run none of them: they cannot be paid. One outcome a call in `last`, as from `answer`."""
        for call in calls:
            self._told(call)
        self.last = [Outcome(call, "refused", _NOT_NOW, code) for call in calls]
        for outcome in self.last:
            self._note(outcome)

    async def answer(self, calls: Sequence[ToolCall], *, room_bytes: int) -> None:
        """One outcome a call, in their order, in `last`. `room_bytes`: what the model's context has left for all.

        Cancelled in the middle, what has not ended is told as `cancelled` before the CancelledError goes on.
        """
        outcomes: list[Outcome | None] = [None] * len(calls)
        self._is_full = room_bytes < limits.LEAST_RESULT_BYTES
        for call in calls:
            self._told(call)
        try:
            permit = await self._permitted()
            share = min(room_bytes, self._room.left_bytes) // len(calls)
            files = permit.files if permit else frozenset()
            scope = replace(self._scope, files=files, room_bytes=min(share, limits.RESULT_BYTES))
            await self._run_all(calls, outcomes, scope, permit)
        finally:
            self.last = [
                outcome or Outcome(call, "cancelled", "Cancelled.", "cancelled")
                for call, outcome in zip(calls, outcomes, strict=True)
            ]
            for outcome in self.last:
                self._note(outcome)

    async def _run_all(
        self, calls: Sequence[ToolCall], outcomes: list[Outcome | None], scope: Scope, permit: Permit | None
    ) -> None:
        gate = asyncio.Semaphore(limits.PARALLEL)

        async def run(place: int) -> None:
            async with gate:
                outcomes[place] = await self._one(calls[place], scope, permit)

        pending = []
        for place, call in enumerate(calls):
            outcomes[place] = self._refused(call)
            if outcomes[place] is None:
                self._calls += 1
                pending.append(run(place))
        await asyncio.gather(*pending)

    async def _permitted(self) -> Permit | None:
        try:
            return await self._permit()
        except DATABASE_ERRORS:
            return None

    def _refused(self, call: ToolCall) -> Outcome | None:
        """Calls that are not looked at: too many of them, and the same one a third time."""
        key = _key(call)
        self._asked[key] += 1
        why = _why_not(self._calls, self._asked[key])
        return None if why is None else Outcome(call, "refused", *why)

    async def _one(self, call: ToolCall, scope: Scope, permit: Permit | None) -> Outcome:
        called_at, started_at = datetime.now(UTC), time.perf_counter()
        known = self._known.get(_key(call))
        if known is not None:
            return Outcome(call, "cached", known, called_at=called_at)
        status, content, code = await self._ran(call, scope, permit)
        content = cut(clean(content), max(scope.room_bytes, limits.LEAST_RESULT_BYTES))
        if status == "success":
            self._known[_key(call)] = content
        return Outcome(call, status, content, code, round((time.perf_counter() - started_at) * 1000), called_at)

    async def _ran(self, call: ToolCall, scope: Scope, permit: Permit | None) -> tuple[Status, str, str]:
        try:
            tool = self._tool(call.name, permit, scope)
            arguments = checked(tool, call.arguments)
            async with asyncio.timeout(self._left_s()):
                return "success", await tool.run(arguments, scope), ""
        except ToolFailed as failure:
            return _STATUS.get(failure.code, "error"), failure.message, failure.code
        except TimeoutError:
            return "timeout", "The tool took too long.", "timeout"
        except DATABASE_ERRORS:
            return "error", _NOT_NOW, "unavailable"
        except Exception:
            # A bug of ours: the model is told, the turn goes on, and the log has the rest.
            log.exception("tool_broke", tool_name=call.name)
            return "error", _NOT_NOW, "internal_error"

    def _tool(self, name: str, permit: Permit | None, scope: Scope) -> Tool:
        """Raises: ToolFailed, in the same words for what does not exist and for what is not this agent's to use."""
        tool = TOOLS.get(name) if name in self._offered else None
        if tool is None:
            raise ToolFailed(_ABSENT, code="unknown_tool")
        if permit is None or name not in permit.tools:
            raise ToolFailed(_ABSENT, code="not_permitted")
        if scope.room_bytes < limits.LEAST_RESULT_BYTES:
            raise ToolFailed(f"There is no room left for a result. {_ENOUGH}", code="no_room")
        return tool

    def _note(self, outcome: Outcome) -> None:
        self._errors_in_a_row = 0 if outcome.status in {"success", "cached"} else self._errors_in_a_row + 1
        self._room.left_bytes -= size_of(outcome.content)
        self._ended(outcome)

    def _left_s(self) -> float:
        return limits.SECONDS - (time.monotonic() - self._started_at)


def checked(tool: Tool, arguments: str) -> Any:
    """The arguments as the tool wants them. Raises: ToolFailed, saying what is wrong with them."""
    if size_of(arguments) > limits.ARGUMENT_BYTES:
        raise ToolFailed(f"Arguments may have {limits.ARGUMENT_BYTES} bytes.", code="invalid_arguments")
    try:
        # Not pydantic's own parser: what the schema calls an integer may come as 3.0 from a parser of JavaScript's.
        value = json.loads(arguments or "{}", parse_constant=_refuse_constant)
        return tool.arguments.model_validate(value)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'arguments'}: {one['msg']}"
            for one in error.errors(include_url=False, include_input=False)[:_TOLD_ARGUMENT_ERRORS]
        )
        raise ToolFailed(f"Wrong arguments: {wrong}.", code="invalid_arguments") from None
    except (ValueError, RecursionError):
        raise ToolFailed("The arguments are no JSON object.", code="invalid_arguments") from None


def canonical(arguments: str) -> str:
    """The same text for the same arguments, however they were written."""
    try:
        return json.dumps(json.loads(arguments or "{}"), sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return arguments


def _why_not(made: int, asked: int) -> tuple[str, str] | None:
    """Why a call is not looked at that comes after `made` others, for the `asked`th time: what is told, and a code."""
    if made >= limits.CALLS:
        return f"No further calls are possible. {_ENOUGH}", "too_many_calls"
    if asked > 2:
        return f"You asked for this twice. {_ENOUGH}", "repeated_call"
    return None


def _key(call: ToolCall) -> str:
    return f"{call.name} {canonical(call.arguments)}"


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)
