"""The load: every session's user posts, streams, cancels, resumes and repeats, in a thread of its own."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import httpx

from config.embedded.chaos.client import Impatience, PersistentClient
from config.embedded.chaos.evidence import Attempt
from config.embedded.chaos.world import Seat

READ_TIMEOUT_S = 20.0
RAMP_S = 3.0
RESUME_SHARE = 0.5
REPEAT_SHARE = 0.2
# What users do, and how often. Cancelling is done to turns in the background, where the client knows the id at once.
WEIGHTS = {"post": 35, "stream": 30, "background": 25, "cancel": 10}


class Load:
    """Runs from `start` until `finish`, which lets every user see the end of what he asked for."""

    def __init__(self, addresses: Sequence[str], seats: Sequence[Seat], seed: int) -> None:
        self.attempts: list[Attempt] = []
        self.counts: Counter[str] = Counter()
        self.failure: BaseException | None = None
        self._addresses = addresses
        self._seats = seats
        self._seed = seed
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self, timeout_s: float) -> bool:
        """Whether all users came to an end."""
        self._stopping.set()
        self._thread.join(timeout_s)
        if self.failure is not None:
            raise self.failure
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            asyncio.run(self._play_all(self._play))
        except BaseException as error:  # noqa: BLE001 - the main thread is told by `finish`
            self.failure = error

    async def _play_all(self, play: Callable[[PersistentClient, random.Random], Coroutine[Any, Any, None]]) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with (
            httpx.AsyncClient(timeout=READ_TIMEOUT_S, limits=limits, trust_env=False) as http,
            asyncio.TaskGroup() as users,
        ):
            for number, seat in enumerate(self._seats):
                dice = random.Random(f"{self._seed}-{number}")
                users.create_task(play(PersistentClient(http, self._addresses, seat, dice, self.counts), dice))

    async def _play(self, client: PersistentClient, dice: random.Random) -> None:
        await asyncio.sleep(dice.uniform(0, RAMP_S))
        while not self._stopping.is_set():
            kind = dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            try:
                await self._act(client, dice, kind)
            except Impatience as error:
                self.attempts[-1].surprises.append(f"no answer in time: {error}")
            await client.pause(0.0, 0.3)

    async def _act(self, client: PersistentClient, dice: random.Random, kind: str) -> None:
        attempt = self._attempt(client, dice, kind)
        path = f"/sessions/{client.seat.session_id}/turns"
        body = {"message": f"What about {attempt.key}?", "max_output_tokens": 512}
        headers = {"Idempotency-Key": attempt.key}
        if kind == "stream":
            turn = await client.stream(attempt, f"{path}/stream", body, **headers)
        elif kind == "post":
            turn = await client.request(attempt, "POST", path, body, **headers)
            if dice.random() < REPEAT_SHARE:
                await client.request(attempt, "POST", path, body, **headers)
        else:
            turn = await client.request(attempt, "POST", path, body, Prefer="respond-async", **headers)
            if "id" not in turn:
                return  # A surprise, which is noted.
            if kind == "cancel":
                await client.pause(0.1, 4.0)
                await client.request(attempt, "POST", f"/turns/{turn['id']}/cancel")
            turn = await client.ended_turn(attempt, turn["id"])
        if turn.get("status") == "interrupted" and dice.random() < RESUME_SHARE:
            await self._resume(client, dice, turn["id"])

    async def _resume(self, client: PersistentClient, dice: random.Random, turn_id: str) -> None:
        attempt = self._attempt(client, dice, "resume")
        await client.request(attempt, "POST", f"/turns/{turn_id}/resume", {}, **{"Idempotency-Key": attempt.key})

    def _attempt(self, client: PersistentClient, dice: random.Random, kind: str) -> Attempt:
        attempt = Attempt(client.seat.user_id, f"{kind}-{dice.getrandbits(64):016x}", kind)
        self.attempts.append(attempt)
        return attempt


class LastTurns(Load):
    """One more turn in every session, to be taken at once: nothing that died may still be in its way."""

    def _run(self) -> None:
        try:
            asyncio.run(self._play_all(self._take_turn))
        except BaseException as error:  # noqa: BLE001 - the main thread is told by `finish`
            self.failure = error

    async def _take_turn(self, client: PersistentClient, dice: random.Random) -> None:
        attempt = self._attempt(client, dice, "last")
        path = f"/sessions/{client.seat.session_id}/turns"
        body, headers = {"message": "Still there?"}, {"Idempotency-Key": attempt.key}
        turn = await client.request(attempt, "POST", path, body, **headers)
        if turn.get("status") != "completed":
            attempt.surprises.append(f"session {client.seat.session_id} takes no new turn: {turn}")
        if attempt.retries:
            attempt.surprises.append("nothing was killed any more, and yet it had to be asked again")
