"""One turn as it streams: who speaks, what goes wrong, and what it has cost so far."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from sessions_app.chat.events import Event
from sessions_app.chat.screen import BOLD, DIM, GREEN, RED, YELLOW, Palette, Screen
from sessions_app.chat.turn_stream import Reconnecting

NO_CREDITS = Decimal("0.00000000")
ARGUMENTS_MAX_CHARS = 200


class TurnView:
    """`charged`: the calls that have finished, then the turn. `status`: empty until it has ended."""

    def __init__(self, screen: Screen, palette: Palette) -> None:
        self.charged = NO_CREDITS
        self.status = ""
        self.error = ""
        self.balance_after: str | None = None
        self.is_low = False
        self._screen = screen
        self._palette = palette
        self._said: dict[str, str] = {}
        # Whose text comes under the last heading.
        self._speaker: str | None = None
        self._shows = {
            "turn_started": self._turn_started,
            "agent_started": self._agent_started,
            "chunk": self._chunk,
            "tool_started": self._tool_started,
            "tool_finished": self._tool_finished,
            "agent_finished": self._agent_finished,
            "round_start": self._round_start,
            "warning": self._warning,
            "done": self._done,
            "error": self._error,
        }

    def show(self, item: Event | Reconnecting) -> None:
        if isinstance(item, Reconnecting):
            if item.tries == 1:
                # Mostly the next try succeeds, and the text goes on as if nothing had been.
                return
            self._screen.warning(f"Connection lost: {item.reason}; trying again in {item.pause_s:g} s.")
        elif item.name in self._shows:
            self._shows[item.name](item.data)

    def catch_up(self, turn: dict[str, Any]) -> None:
        """Show what is stored of the turn and was not streamed: its events are not kept for ever."""
        said = dict(self._said)
        for message in turn["messages"]:
            if message["role"] == "user":
                continue
            key, text = message["agent_key"] or "", message["content"]
            shown = said.get(key, "")
            if text and shown.startswith(text):
                said[key] = shown[len(text) :]
                continue
            said[key] = ""
            if self._speaker != key:
                self._heading(message)
            self._chunk({"agent_key": key, "delta": text[len(shown) :] if text.startswith(shown) else text})
            self._speaker = None
        self._screen.end_line()
        self.status = turn["status"]
        self.error = _told(turn["error"]) if turn.get("error") else ""
        self._take_figures({**turn, "credits_charged": turn["usage"]["credits_charged"]})

    def closing_line(self, sitting_charged: Decimal) -> None:
        """What this turn has cost, what the sitting has, and what is left."""
        colour = GREEN if self.status == "completed" else YELLOW
        pieces: list[str | tuple[str, str]] = [("■ ", colour), f"this turn {self.charged:f} credits"]
        pieces.append(f" · this sitting {sitting_charged:f}")
        if self.balance_after is not None:
            pieces.append((f" · balance {self.balance_after}", BOLD))
        if self.is_low:
            pieces.append((" LOW", f"{BOLD};{RED}"))
        if self.status != "completed":
            pieces.append((f" · {self.status}", YELLOW))
        self._screen.line(*pieces)

    def _turn_started(self, data: dict[str, Any]) -> None:
        # In the order of the room, so that an agent has its colour whoever speaks first.
        for agent in data.get("agents") or []:
            self._palette[agent["agent_key"]]

    def _agent_started(self, data: dict[str, Any]) -> None:
        self._heading(data)

    def _heading(self, who: dict[str, Any]) -> None:
        key = who.get("agent_key") or ""
        pieces: list[str | tuple[str, str]] = [(who.get("agent_name") or key, f"{BOLD};{self._palette[key]}")]
        pieces += [(f" · {who[name]}", DIM) for name in ("model_alias", "purpose") if who.get(name)]
        if self.charged:
            pieces.append((f" · so far {self.charged:f}", DIM))
        self._screen.line("")
        self._screen.line(*pieces)
        self._speaker = key

    def _chunk(self, data: dict[str, Any]) -> None:
        key, text = data["agent_key"], data["delta"]
        self._said[key] = self._said.get(key, "") + text
        self._screen.text(text, self._palette[key])

    def _tool_started(self, data: dict[str, Any]) -> None:
        arguments = json.dumps(data.get("arguments"), ensure_ascii=False)
        if len(arguments) > ARGUMENTS_MAX_CHARS:
            arguments = arguments[:ARGUMENTS_MAX_CHARS] + "…"
        self._screen.note(f"  → {data['tool_name']} {arguments}")

    def _tool_finished(self, data: dict[str, Any]) -> None:
        charged = Decimal(data.get("credits_charged", 0))
        self.charged += charged
        cost = f" · {charged:f} credits" if charged else ""
        self._screen.note(f"  ← {data['tool_name']} · {data['status']} · {data['latency_ms']} ms{cost}")

    def _agent_finished(self, data: dict[str, Any]) -> None:
        usage = data["usage"]
        charged = Decimal(data.get("credits_charged") or data["credits_burned"])
        self.charged += charged
        self._speaker = None
        pieces: list[str | tuple[str, str]] = [
            (
                f"  {usage['input_tokens_fresh']} fresh + {usage['input_tokens_cached']} cached in"
                f" · {usage['output_tokens']} out · {charged:f} credits · so far {self.charged:f}",
                DIM,
            )
        ]
        if data["status"] != "success":
            pieces.append((f" · {data['status']}", YELLOW))
        self._screen.line(*pieces)

    def _round_start(self, data: dict[str, Any]) -> None:
        self._screen.line("")
        self._screen.line((f"Round {data['round']}", BOLD))

    def _warning(self, data: dict[str, Any]) -> None:
        self._screen.warning(f"! {data['detail']} ({data['code']})")

    def _done(self, data: dict[str, Any]) -> None:
        self.status = data["status"]
        self._take_figures(data)

    def _error(self, data: dict[str, Any]) -> None:
        self.status = data.get("status") or "failed"
        self.error = _told(data)

    def _take_figures(self, data: dict[str, Any]) -> None:
        # The ledger's own sum, in place of ours.
        self.charged = Decimal(data.get("credits_charged") or self.charged)
        self.balance_after = data.get("balance_after")
        self.is_low = bool(data.get("low_balance"))


def _told(error: dict[str, Any]) -> str:
    return f"{str(error['detail']).rstrip('.')} ({error['code']})."
