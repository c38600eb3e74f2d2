"""The process that settles: turns are opened by the service, and then settled by it from threads, as in a web process.

    python -m bench.benches.settled_here        # in the database that DATABASE_URL names, which has seats

Each line on its standard input, `{"clients", "seconds", "is_hot"}`, is one run, and is answered by a line,
`{"settled", "per_s"}`.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, cast
from uuid import UUID

import django

django.setup()

# What follows needs Django to be set up.
# ruff: noqa: E402
from django.db import close_old_connections

from bench.benches.turns import MESSAGE
from bench.servers.upstream import USAGE, WORDS
from config.core.ids import uuid7
from pricing.rating import TokenPools
from sessions_app.llm.types import ChatResult
from sessions_app.models import Session
from sessions_app.turns.meter import Meter, TurnIds
from sessions_app.turns.opening import open_turn
from sessions_app.turns.outcome import RunReport, conclude
from sessions_app.turns.preparing import price_of
from sessions_app.turns.recovery import recover
from sessions_app.turns.settling import TurnRecord, settle_turn
from sessions_app.turns.turn import OpenedTurn, TurnRequest

OPENERS = 8
# So many are settled first, to see how many fit into the time.
TRIED_FIRST = 200
ANSWER = ChatResult(
    status="success", text="".join(WORDS), pools=TokenPools(USAGE["prompt_tokens"], output=USAGE["completion_tokens"]),
    usage_source="provider", raw_usage=dict(USAGE), provider_model="bench", finish_reason="stop", failure=None,
    usage_flags=(), latency_ms=5, first_text_ms=1, attempts=1,
)  # fmt: skip
Place = tuple[UUID, UUID]


def opened(place: Place) -> TurnRecord:
    """A turn that has run, up to its settlement."""
    user_id, session_id = place
    request = TurnRequest(
        user_id=user_id, session_id=session_id, message=MESSAGE, max_output_tokens=256, model_alias_override=None,
        claim=None, request_id=str(uuid7()),
    )  # fmt: skip
    turn = cast(OpenedTurn, open_turn(request, recover=recover))
    prepared = turn.prepared
    ids = TurnIds(turn.id, session_id, prepared.room_id, user_id)
    meter = Meter(ids=ids, book=prepared.book, first_step_id=turn.first_step_id)
    (speaker,) = prepared.plan.speakers
    step = meter.begin(speaker, purpose="agent", context=asdict(prepared.window.reading))
    meter.finish(step, ANSWER, price=price_of(prepared.book, speaker.model_alias))
    conclusion = conclude(steps=meter.steps, report=RunReport(finished=True), summary_plan=None)
    return TurnRecord(ids, turn.lease_claim, prepared.book, conclusion, meter.ended(), list(meter.calls), [])


def unit(work: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Give the connection back after it, as the web process does."""

    def done(argument: Any) -> Any:
        try:
            return work(argument)
        finally:
            close_old_connections()

    return done


def settled_per_s(places: Sequence[Place], clients: int) -> float:
    """Open a turn at each place, then settle them all, as fast as so many threads can."""
    with ThreadPoolExecutor(OPENERS) as pool:
        records = list(pool.map(unit(opened), places))
    start = threading.Barrier(clients + 1)

    def settle(mine: Sequence[TurnRecord]) -> None:
        start.wait()
        for record in mine:
            if unit(settle_turn)(record) is None:
                raise RuntimeError("a turn was settled by somebody else")

    with ThreadPoolExecutor(clients) as pool:
        working = [pool.submit(settle, records[number::clients]) for number in range(clients)]
        start.wait()
        began = time.perf_counter()
        for future in working:
            future.result()
        return len(records) / (time.perf_counter() - began)


class Runs:
    """The runs, and how fast the last one of each kind was: it says how many turns fill the next one's time."""

    def __init__(self) -> None:
        places = list(Session.objects.order_by("id").values_list("user_id", "id"))
        # They were made user by user; threads side by side are to settle for different ones.
        random.Random(1).shuffle(places)
        [(hot_user, _)] = Counter(user_id for user_id, _ in places).most_common(1)
        self._places = {
            is_hot: [place for place in places if (place[0] == hot_user) is is_hot] for is_hot in (False, True)
        }
        self._rates: dict[tuple[int, bool], float] = {}

    def run(self, *, clients: int, seconds: float, is_hot: bool) -> dict[str, float]:
        kind, places, settled = (clients, is_hot), self._places[is_hot], 0
        if kind not in self._rates:
            first = places[:TRIED_FIRST]
            self._rates[kind] = settled_per_s(first, clients)
            settled = len(first)
        part = places[: max(clients, int(self._rates[kind] * seconds))]
        self._rates[kind] = settled_per_s(part, clients)
        return {"settled": settled + len(part), "per_s": self._rates[kind]}


def main() -> None:
    runs = Runs()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(runs.run(**json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
