"""A whole conversation, streamed. Turns are read in pieces by keyset, so a long session needs no more memory than one
piece, and no connection is held while the client reads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from rest_framework.renderers import JSONRenderer

from config.core.money import ZERO, ledger_text, usage_text
from config.core.transactions import in_thread
from sessions_app import transcript
from sessions_app.models import Session, Turn
from sessions_app.serializers import ExportSessionOut, TurnOut
from sessions_app.turns.reading import describe

# A turn's message may have a megabyte.
BATCH_TURNS = 20


@dataclass(frozen=True, slots=True)
class Form:
    """How a conversation is written: what comes before the turns, each of them, between them, and after them."""

    head: Callable[[dict[str, Any]], str]
    turn: Callable[[dict[str, Any]], str]
    separator: str
    foot: Callable[[dict[str, Any]], str]


@dataclass
class Totals:
    """Credits burned at 4 places, charged at 8."""

    turns: int = 0
    llm_calls: int = 0
    credits_burned: Decimal = ZERO
    credits_charged: Decimal = ZERO

    def add(self, shown: dict[str, Any]) -> None:
        usage = shown["usage"]
        self.turns += 1
        self.llm_calls += usage["llm_calls"]
        self.credits_burned += Decimal(usage["credits_burned"])
        self.credits_charged += Decimal(usage["credits_charged"])

    def as_shown(self) -> dict[str, Any]:
        return {
            "turns": self.turns,
            "llm_calls": self.llm_calls,
            "credits_burned": usage_text(self.credits_burned),
            "credits_charged": ledger_text(self.credits_charged),
        }


def _json(value: Any) -> str:
    return JSONRenderer().render(value).decode()


# The totals come last, because they are known last. A document that was cut off on the way is no JSON.
JSON = Form(
    head=lambda session: f'{{"session":{_json(session)},"turns":[\n',
    turn=_json,
    separator=",\n",
    foot=lambda totals: f'\n],"totals":{_json(totals)}}}\n',
)
MARKDOWN = Form(head=transcript.head, turn=transcript.turn, separator="", foot=transcript.foot)


def export(session: Session, form: Form) -> AsyncIterator[bytes]:
    """The session in pieces. Reads the session's own rows at once, the turns as they are sent."""
    return _pieces(session.id, dict(ExportSessionOut(session).data), form)


async def _pieces(session_id: UUID, session: dict[str, Any], form: Form) -> AsyncIterator[bytes]:
    yield form.head(session).encode()
    totals = Totals()
    after: int | None = 0
    while after is not None:
        text, after = await in_thread(partial(_batch, session_id, after, form, totals))
        if text:
            yield text.encode()
    yield form.foot(totals.as_shown()).encode()


def _batch(session_id: UUID, after: int, form: Form, totals: Totals) -> tuple[str, int | None]:
    """The turns after that index, and the index to go on after, None at the end."""
    rows = list(Turn.objects.filter(session_id=session_id, turn_index__gt=after).order_by("turn_index")[:BATCH_TURNS])
    if not rows:
        return "", None
    shown = TurnOut(describe(rows), many=True).data
    # A separator before each turn but the very first.
    text = form.separator if totals.turns else ""
    text += form.separator.join(form.turn(turn) for turn in shown)
    for turn in shown:
        totals.add(turn)
    return text, rows[-1].turn_index if len(rows) == BATCH_TURNS else None
