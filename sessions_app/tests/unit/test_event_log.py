"""The event log: numbered, gathered, watched by many, ended once."""

from __future__ import annotations

import asyncio
import json

from config.core.ids import uuid7
from sessions_app.turns.event_log import EventLog, TurnEvent
from sessions_app.turns.heartbeats import with_heartbeats


def read(events):
    return [(event.seq, event.name) for event in events]


def test_deltas_are_gathered_into_one_chunk_and_kept_in_order():
    async def scenario():
        log = EventLog(uuid7())
        for part in "abc":
            log.delta("ann", part)
        log.emit("agent_finished", {})
        log.delta("ben", "d")
        await asyncio.sleep(0.1)
        return log.events

    events = asyncio.run(scenario())
    assert [(e.seq, e.name, e.data.get("delta")) for e in events] == [
        (1, "chunk", "abc"), (2, "agent_finished", None), (3, "chunk", "d"),
    ]  # fmt: skip


def test_nothing_follows_a_terminal_event():
    async def scenario():
        log = EventLog(uuid7())
        log.emit("done", {})
        log.emit("error", {})
        log.delta("ann", "late")
        log.flush()
        return log.events

    assert read(asyncio.run(scenario())) == [(1, "done")]


def test_viewers_read_the_same_from_wherever_they_start():
    async def scenario():
        log = EventLog(uuid7())
        log.emit("turn_started", {})

        async def collect(after):
            return read([event async for event in log.watch(after)])

        viewers = [asyncio.create_task(collect(after)) for after in (0, 1, 2)]
        await asyncio.sleep(0)
        for number in range(5):
            log.emit("warning", {"code": number})
            await asyncio.sleep(0)
        log.emit("done", {})
        late = await collect(0)
        return await asyncio.gather(*viewers), late

    (first, second, third), late = asyncio.run(scenario())
    assert first == late == [(1, "turn_started"), *[(n, "warning") for n in range(2, 7)], (7, "done")]
    assert (second, third) == (first[1:], first[2:])


def test_line_ends_that_are_none_are_escaped_and_the_text_is_the_same():
    text = "a\u0085b\u2028c\u2029d\ne€😀"
    line = TurnEvent(3, "chunk", {"delta": text}).encode().decode()
    assert line.startswith("id: 3\nevent: chunk\ndata: ")
    assert not set("\u0085\u2028\u2029") & set(line)
    assert len(line.splitlines()) == 4
    assert json.loads(line.split("data: ")[1])["delta"] == text


def test_silence_is_filled_with_comment_lines():
    async def scenario():
        log = EventLog(uuid7())

        async def view():
            return [data async for data in with_heartbeats(log.watch(), every_s=0.02)]

        viewer = asyncio.create_task(view())
        await asyncio.sleep(0.07)
        log.emit("done", {})
        return await viewer

    seen = asyncio.run(scenario())
    assert seen[:2] == [b": keep-alive\n"] * 2
    assert seen[-1].startswith(b"id: 1\nevent: done\n")


def test_a_viewer_that_goes_away_leaves_the_log_alone():
    async def scenario():
        log = EventLog(uuid7())
        stream = with_heartbeats(log.watch(), every_s=5)
        log.emit("turn_started", {})
        await anext(stream)
        pending = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        pending.cancel()
        await asyncio.gather(pending, return_exceptions=True)
        log.emit("done", {})
        return log.events

    assert read(asyncio.run(scenario())) == [(1, "turn_started"), (2, "done")]


def test_a_viewer_that_read_more_elsewhere_than_this_copy_has_still_gets_its_end():
    async def scenario():
        log = EventLog(uuid7())
        log.emit("turn_started", {})
        log.emit("done", {})
        return [[event async for event in log.watch(after)] for after in (1, 2, 7)]

    assert [read(events) for events in asyncio.run(scenario())] == [[(2, "done")], [], [(2, "done")]]
