"""A turn's events over connections that break: nothing is lost, nothing comes twice, and nothing is begun twice."""

from __future__ import annotations

from itertools import accumulate

import pytest

from sessions_app.chat.api import Api
from sessions_app.chat.events import Event, read_events
from sessions_app.chat.problems import Problem, Unreachable
from sessions_app.chat.turn_stream import EventsGone, GaveUp, Reconnecting, TurnStream
from sessions_app.tests.chat_server import TURN_ID, ChatServer, encoded

PIECES = ["Grüße, ", "汤 ", "🍲\n", "line\u2028end\u0085", " and done."]
EVENTS = encoded(
    [
        ("turn_started", {"agents": []}),
        ("agent_started", {"agent_key": "a"}),
        *(("chunk", {"agent_key": "a", "delta": piece}) for piece in PIECES),
        ("agent_finished", {"agent_key": "a"}),
        ("done", {"status": "completed"}),
    ]
)
# Where each event ends, one byte before and one byte after, and in its middle.
ENDS = list(accumulate(map(len, EVENTS)))
PLACES = sorted({place for end in ENDS for place in (end - 20, end - 1, end, end + 1) if 0 <= place < ENDS[-1]})
PATH = "/sessions/s/turns/stream"


def stream_of(server, **fields):
    fields = {"path": PATH, "body": {"message": "hi"}, "pauses_s": (0.5, 1.0, 2.0), **fields}
    return TurnStream(Api(server.url), sleep=lambda _seconds: None, **fields)


def read(stream):
    items = list(stream.events())
    return [item for item in items if isinstance(item, Event)], [i for i in items if isinstance(i, Reconnecting)]


def text_of(events):
    return "".join(event.data["delta"] for event in events if event.name == "chunk")


@pytest.mark.parametrize("well_formed", [True, False])
@pytest.mark.parametrize("place", PLACES)
def test_a_stream_that_is_cut_once_goes_on_where_it_was(place, well_formed):
    with ChatServer(EVENTS, cut=lambda number: place if number == 0 else None, well_formed=well_formed) as server:
        stream = stream_of(server)
        events, pauses = read(stream)
    assert [event.id for event in events] == list(range(1, len(EVENTS) + 1))
    assert text_of(events) == "".join(PIECES)
    assert [pause.pause_s for pause in pauses] == [0.5]
    assert (stream.turn_id, stream.has_ended) == (TURN_ID, True)


def test_a_stream_that_is_cut_after_every_event_is_put_together_again():
    def one_event_more(number):
        return len(EVENTS[number]) if number + 1 < len(EVENTS) else None

    with ChatServer(EVENTS, cut=one_event_more) as server:
        events, pauses = read(stream_of(server))
    assert [event.id for event in events] == list(range(1, len(EVENTS) + 1))
    assert text_of(events) == "".join(PIECES)
    # Each connection brought something, so patience starts anew.
    assert {pause.pause_s for pause in pauses} == {0.5}
    assert [asked.headers.get("last-event-id") for asked in server.asked] == [
        None, *map(str, range(1, len(EVENTS)))
    ]  # fmt: skip


def test_a_post_whose_answer_is_lost_is_made_again_with_the_same_key():
    with ChatServer(EVENTS, cut=lambda number: 3 if number < 2 else None) as server:
        events, pauses = read(stream_of(server))
    assert text_of(events) == "".join(PIECES)
    assert [pause.pause_s for pause in pauses] == [0.5, 1.0]
    assert server.paths() == [f"POST {PATH}"] * 3
    assert len({asked.headers["idempotency-key"] for asked in server.asked}) == 1
    assert {asked.body["message"] for asked in server.asked} == {"hi"}


def test_a_turn_that_runs_in_another_process_is_joined():
    busy = (409, {"code": "idempotency_in_progress", "detail": "Still running.", "turn_id": TURN_ID})
    answers = {f"POST {PATH}": [(None, None), busy]}
    with ChatServer(EVENTS, cut=lambda number: 3 if number == 0 else None, answers=answers) as server:
        events, _ = read(stream_of(server))
    assert text_of(events) == "".join(PIECES)
    assert server.paths() == [f"POST {PATH}", f"POST {PATH}", f"GET /turns/{TURN_ID}/events"]


def test_after_growing_pauses_it_gives_up_and_can_be_taken_up_again():
    with ChatServer(EVENTS, cut=lambda number: ENDS[2] if number == 0 else 0 if number < 4 else None) as server:
        stream, seen = stream_of(server), []
        with pytest.raises(GaveUp, match="has begun goes on"):
            seen.extend(stream.events())
        assert [item.pause_s for item in seen if isinstance(item, Reconnecting)] == [0.5, 1.0, 2.0]
        assert [item.id for item in seen if isinstance(item, Event)] == [1, 2, 3]
        events, _ = read(stream)
    assert [event.id for event in events] == list(range(4, len(EVENTS) + 1))


def test_a_server_that_restarts_is_waited_for():
    away = (503, {"code": "provider_unavailable", "detail": "Shutting down."})
    answers = {f"GET /turns/{TURN_ID}/events": [away, away, (None, None)]}
    with ChatServer(EVENTS, cut=lambda number: ENDS[2] if number == 0 else None, answers=answers) as server:
        events, pauses = read(stream_of(server))
    assert text_of(events) == "".join(PIECES)
    assert [pause.reason for pause in pauses][1:] == ["Shutting down (provider_unavailable)"] * 2


@pytest.mark.parametrize("answer", [(204, None), (410, {"code": "events_expired", "detail": "Gone."})])
def test_events_that_are_not_kept_any_more_are_told_apart_from_a_lost_connection(answer):
    answers = {f"GET /turns/{TURN_ID}/events": [answer]}
    with ChatServer(EVENTS, cut=lambda _number: ENDS[1], answers=answers) as server:
        with pytest.raises(EventsGone):
            read(stream_of(server))


def test_a_refusal_is_not_tried_again():
    answers = {f"POST {PATH}": [(422, {"code": "no_room_agents", "detail": "This room has no agents yet."})]}
    with ChatServer(EVENTS, answers=answers) as server:
        with pytest.raises(Problem, match=r"This room has no agents yet \(no_room_agents\)\."):
            read(stream_of(server))
        assert len(server.asked) == 1


def test_events_that_were_skipped_are_asked_for():
    with ChatServer([*EVENTS[:2], *EVENTS[3:]]) as server:
        stream = stream_of(server, pauses_s=())
        with pytest.raises(GaveUp):
            read(stream)
        assert stream.last_id == 2
        server.events = EVENTS
        assert [event.id for event in read(stream)[0]] == list(range(3, len(EVENTS) + 1))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_the_reader_does_not_mind_where_bytes_are_cut(size):
    data = b": a comment\n\n" + b"".join(EVENTS).replace(b"\n", b"\r\n")
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert text_of(read_events(pieces)) == "".join(PIECES)


@pytest.mark.parametrize("garbage", [b"id: 1\ndata: {\n\n", b"id: x\ndata: {}\n\n", b"id: 1\ndata: \xff\n\n"])
def test_a_garbled_stream_counts_as_a_lost_one(garbage):
    with pytest.raises(Unreachable):
        list(read_events([garbage]))
