"""A browser's event source reads a turn's events without knowing anything of us: cut anywhere, connecting again."""

from __future__ import annotations

import json

import pytest

from sessions_app.tests.e2e.event_source import Interpreter, Message, event_source
from sessions_app.tests.e2e.test_events import in_the_background
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply

WEB_PROCESSES = 2
ENVIRONMENT = {"LLM_READ_TIMEOUT_S": "20"}
pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]

USAGE = {"prompt_tokens": 10, "completion_tokens": 5}
# What lines, fields and comments of event streams are made of, and characters of one to four bytes.
PIECES = (
    "data: a\n\n",
    "id: 99\r\n",
    ":\r",
    "event: done\n",
    "\u2028\u2029\u0085",
    "né",
    "€",
    "😀",
    "\\u2028",
    "\0",
    " ",
)
# PostgreSQL has no NUL in texts.
TEXT = "".join(PIECES).replace("\0", "")


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_it_gets_every_event_once_whatever_cuts_its_connections(webs, script, where):
    script.reply = Reply(chunks=PIECES, usage=USAGE, delay_s=0.06)
    alice = make_person("alice")
    session = make_session(alice, "ann", "ben")
    watched = webs[0] if where == "here" else webs[1]
    with webs[0].client(alice.token) as posting, watched.client(alice.token) as client:
        turn_id, thread = in_the_background(posting, session)
        url = f"/turns/{turn_id}/events"
        # Before the first event, within one, between two, and within a character.
        live = list(event_source(client, url, cuts_bytes=(1, 70, 400, 399, 233, 234, 511, 5)))
        thread.join()
        turn = client.get(f"/turns/{turn_id}").json()
        again = list(event_source(client, url))
    assert [message.last_event_id for message in live] == [str(n) for n in range(1, len(live) + 1)]
    assert [message.type for message in live if message.type in {"done", "error"}] == ["done"]
    said = {"ann": "", "ben": ""}
    for message in live:
        data = json.loads(message.data)
        assert (data["turn_id"], data["seq"]) == (str(turn_id), int(message.last_event_id))
        if message.type == "chunk":
            said[data["agent_key"]] += data["delta"]
    assert said == {m["agent_key"]: m["content"] for m in turn["messages"][1:]} == {"ann": TEXT, "ben": TEXT}
    assert again == live


@pytest.mark.parametrize("size_bytes", range(1, 12))
def test_after_the_end_connections_of_any_size_add_up_to_the_same_events(web, script, size_bytes):
    script.reply = Reply(chunks=PIECES, usage=USAGE)
    alice = make_person("alice")
    session = make_session(alice, "ann")
    with web.client(alice.token) as client:
        turn_id = client.post(f"/sessions/{session}/turns", json={"message": "hi"}).json()["id"]
        url = f"/turns/{turn_id}/events"
        whole = list(event_source(client, url))
        cut = list(event_source(client, url, cuts_bytes=tuple(range(size_bytes, 1_200, 97))))
    assert cut == whole
    assert [message.type for message in whole][-2:] == ["agent_finished", "done"]


def test_comment_lines_that_keep_a_stream_open_are_no_messages():
    interpreter = Interpreter()
    stream = b"id: 1\nevent: chunk\ndata: {}\n\n: keep-alive\n\n: keep-alive\n\nid: 2\nevent: done\ndata: {}\n\n"
    messages = [message for at in range(len(stream)) for message in interpreter.feed(stream[at : at + 1])]
    assert messages == [Message("1", "chunk", "{}"), Message("2", "done", "{}")]
