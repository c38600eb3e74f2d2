"""A client that does not give up: it asks again under the same key until it knows how its turn ended."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx

from config.embedded.chaos.evidence import ENDED, Attempt
from config.embedded.chaos.world import Seat

GIVE_UP_S = 60.0
# Refusals that pass by themselves while processes come and go.
PASSING = frozenset(
    {"turn_in_progress", "idempotency_in_progress", "wallet_busy", "database_unavailable", "rate_limited"}
)
# A stream whose process and whose Redis are both gone cannot be read on: its turn itself says how it ended.
LOST_LOG = "events_expired"
PLANNED = PASSING | {LOST_LOG, "turn_not_resumable"}


class Impatience(Exception):
    """A request was answered with nothing but passing refusals for too long."""


class PersistentClient:
    """One session's user. `counts` is shared: what answers there were, by status and code."""

    def __init__(
        self, http: httpx.AsyncClient, addresses: Sequence[str], seat: Seat, dice: random.Random, counts: Counter[str]
    ) -> None:
        self.seat = seat
        self._http = http
        self._addresses = addresses
        self._dice = dice
        self._counts = counts
        self._headers = {"Authorization": f"Bearer {seat.token}"}

    async def request(
        self, attempt: Attempt, method: str, path: str, body: dict[str, Any] | None = None, **headers: str
    ) -> dict[str, Any]:
        """The first answer that is no passing refusal, from whichever web process gives it."""
        deadline = time.monotonic() + GIVE_UP_S
        while time.monotonic() < deadline:
            url = f"{self._dice.choice(self._addresses)}/api/v1{path}"
            try:
                answer = await self._http.request(method, url, json=body, headers={**self._headers, **headers})
            except httpx.TransportError as error:
                self._counts[type(error).__name__] += 1
                attempt.retries += 1
            else:
                content = self._content(attempt, answer)
                if content.get("code") not in PASSING:
                    return content
                if content["code"] == "idempotency_in_progress":
                    return await self.ended_turn(attempt, content["turn_id"])
            await self.pause(0.15, 0.5)
        raise Impatience(f"{method} {path}")

    async def stream(self, attempt: Attempt, path: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
        """Watch a turn to its end; where the stream breaks off, read on at another process, or post again."""
        turn_id, position = "", 0
        deadline = time.monotonic() + GIVE_UP_S
        while time.monotonic() < deadline:
            method, url = ("GET", f"/turns/{turn_id}/events?after={position}") if turn_id else ("POST", path)
            try:
                async with self._http.stream(
                    method,
                    f"{self._dice.choice(self._addresses)}/api/v1{url}",
                    json=None if turn_id else body,
                    headers={**self._headers, **headers},
                ) as answer:
                    if answer.status_code != 200:
                        await answer.aread()
                        content = self._content(attempt, answer)
                        if answer.status_code != 204 and content.get("code") not in PASSING | {LOST_LOG}:
                            return content
                    async for event in _events(answer):
                        turn_id, position = event["turn_id"], event["seq"]
                        attempt.turn_ids.add(turn_id)
            except httpx.TransportError as error:
                self._counts[type(error).__name__] += 1
                attempt.retries += 1
            if turn_id:
                turn = await self.request(attempt, "GET", f"/turns/{turn_id}")
                if turn.get("status") in ENDED:
                    return turn
            await self.pause(0.15, 0.5)
        raise Impatience(f"stream {path}")

    async def ended_turn(self, attempt: Attempt, turn_id: str) -> dict[str, Any]:
        """Ask for the turn until it has ended."""
        deadline = time.monotonic() + GIVE_UP_S
        while time.monotonic() < deadline:
            turn = await self.request(attempt, "GET", f"/turns/{turn_id}")
            if turn.get("status") in ENDED:
                return turn
            await self.pause(0.4, 1.0)
        raise Impatience(f"the end of turn {turn_id}")

    async def pause(self, least_s: float, most_s: float) -> None:
        await asyncio.sleep(self._dice.uniform(least_s, most_s))

    def _content(self, attempt: Attempt, answer: httpx.Response) -> dict[str, Any]:
        """The answer's JSON, noted: which turn it speaks of, and whether such an answer was to be expected."""
        content: dict[str, Any] = answer.json() if answer.content else {}
        code = content.get("code", "")
        self._counts[f"{answer.status_code} {code}".strip()] += 1
        if answer.status_code == 500 or (answer.is_client_error and code not in PLANNED):
            attempt.surprises.append(f"{answer.request.method} was answered {answer.status_code} {code}")
        if code == "idempotency_in_progress" or (answer.is_server_error and "turn_id" in content):
            attempt.turn_ids.add(content["turn_id"])
        if "turn_index" in content:
            attempt.turn_ids.add(content["id"])
            if content["status"] in ENDED:
                attempt.told[content["id"]] = content["status"]
        return content


async def _events(answer: httpx.Response) -> Any:
    async for line in answer.aiter_lines():
        if line.startswith("data:"):
            yield json.loads(line.removeprefix("data:"))
