"""The mirror: everything of every log, in order, some at a time."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from config.core.ids import uuid7
from sessions_app.turns import mirror as mirror_module
from sessions_app.turns.event_log import EventLog
from sessions_app.turns.mirror import Mirror


class Store:
    """Takes what Redis would take; fails so many times first."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.sizes: list[int] = []
        self.logs: dict[object, list[int]] = {}

    async def append(self, batch):
        self.sizes.append(sum(map(len, batch.values())))
        if self.failures:
            self.failures -= 1
            raise RedisConnectionError
        for turn_id, events in batch.items():
            self.logs.setdefault(turn_id, []).extend(event.seq for event in events)
        await asyncio.sleep(0)


@pytest.mark.parametrize("failures", [0, 2])
def test_long_logs_are_passed_on_in_pieces_to_their_ends(monkeypatch, failures):
    monkeypatch.setattr(mirror_module, "_EVENTS_AT_ONCE", 10)
    store = Store(failures)
    monkeypatch.setattr(mirror_module, "event_store", lambda: store)

    async def scenario():
        mirror, logs = Mirror(), [EventLog(uuid7()) for _ in range(3)]
        for log in logs:
            for n in range(24):
                log.emit("warning", {"n": n})
            mirror.follow(log)
        for log in logs:
            log.emit("done", {})
        await asyncio.wait_for(mirror._task, timeout=5)
        return [log.turn_id for log in logs]

    ids = asyncio.run(scenario())
    assert store.logs == {id_: list(range(1, 26)) for id_ in ids}
    assert max(store.sizes) == 10
