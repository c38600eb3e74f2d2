"""A turn at the terminal when things get in the way: Ctrl-C, a stale token, a limit, a server of another age."""

from __future__ import annotations

import io
import signal
import threading

import pytest

from sessions_app.chat import sitting as sitting_module
from sessions_app.chat.api import Api
from sessions_app.chat.commands import COMMANDS, Quit
from sessions_app.chat.conversation import recite, say
from sessions_app.chat.keyboard import Keyboard
from sessions_app.chat.problems import ChatError, Problem
from sessions_app.chat.screen import Screen
from sessions_app.chat.sitting import Sitting
from sessions_app.chat.watching import Left, watch
from sessions_app.tests.chat_server import TURN_ID, ChatServer, encoded

EVENTS = encoded(
    [
        ("turn_started", {"agents": [{"agent_key": "a"}]}),
        ("agent_started", {"agent_key": "a", "agent_name": "A", "model_alias": "m", "purpose": "agent", "step": 1}),
        ("chunk", {"agent_key": "a", "delta": "Hello."}),
        (
            "agent_finished",
            {
                "agent_key": "a",
                "status": "success",
                "usage": {"input_tokens_fresh": 1, "input_tokens_cached": 0, "output_tokens": 2},
                "credits_burned": "0.0001",
                "credits_charged": "0.00010000",
            },
        ),
        (
            "done",
            {
                "status": "completed",
                "credits_charged": "0.00010000",
                "balance_after": "1.00000000",
                "low_balance": False,
            },
        ),
    ]
)
POST = "POST /sessions/s/turns/stream"
SHOWN = """
A · m · agent
Hello.
  1 fresh + 0 cached in · 2 out · 0.00010000 credits · so far 0.00010000

■ this turn 0.00010000 credits · this sitting {} · balance 1.00000000
"""


@pytest.fixture
def server():
    with ChatServer(EVENTS) as running:
        yield running


def sitting_at(server):
    screen = Screen(io.StringIO(), coloured=False)
    return Sitting(Api(server.url), screen, Keyboard(screen, interactive=False), session_id="s")


def output_of(sitting):
    return sitting.screen._output.getvalue()


def test_lines_of_a_pipe_are_turns_and_commands(server):
    sitting = sitting_at(server)
    assert recite(sitting, io.StringIO("One\n\n//two\n/quit\nNever\n")) is True
    assert [asked.body["message"] for asked in server.asked] == ["One", "/two"]
    first, second = SHOWN.format("0.00010000"), SHOWN.format("0.00020000")
    assert output_of(sitting) == f"> One\n{first}> //two\n{second}> /quit\n"


def test_a_turn_that_does_not_complete_ends_a_script(server):
    server.events = [*EVENTS[:2], *encoded([("error", {"code": "provider_error", "detail": "It broke."})])]
    server.events[-1] = server.events[-1].replace(b"id: 1", b"id: 3")
    server.answers["GET /users/me/wallet"] = [(200, {"balance": "1.00000000", "low_balance": True})]
    sitting = sitting_at(server)
    assert recite(sitting, io.StringIO("One\nTwo\n")) is False
    assert len([asked for asked in server.asked if asked.method == "POST"]) == 1
    assert output_of(sitting).endswith(
        "It broke (provider_error).\n\n"
        "■ this turn 0.00000000 credits · this sitting 0.00000000 · balance 1.00000000 LOW · failed\n"
    )


def test_a_stale_token_is_replaced_and_the_turn_is_not_posted_twice(server):
    server.answers[POST] = [(401, {"code": "token_invalid", "detail": "Expired."}), (None, None)]
    sitting = sitting_at(server)
    sitting.api.token = "old"
    sitting.api.sign_in_again = lambda: setattr(sitting.api, "token", "new")
    assert sitting.post("hi") is True
    assert [asked.headers["authorization"] for asked in server.asked] == ["Bearer old", "Bearer new"]
    assert len({asked.headers["idempotency-key"] for asked in server.asked}) == 1


def test_a_limit_is_waited_for_unless_it_is_long(server, monkeypatch):
    waited = []
    monkeypatch.setattr(sitting_module.time, "sleep", waited.append)
    limited = {"code": "rate_limited", "detail": "Too many turns."}
    server.answers[POST] = [
        (429, {**limited, "retry_after_seconds": 12}), (None, None), (429, {**limited, "retry_after_seconds": 900}),
    ]  # fmt: skip
    sitting = sitting_at(server)
    assert sitting.post("hi") is True
    with pytest.raises(Problem, match=r"Too many turns \(rate_limited\); try again in 900 s\."):
        sitting.post("hi")
    assert waited == [12.0]
    assert output_of(sitting).startswith("Too many turns (rate_limited); try again in 12 s. Waiting for it.\n")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (202, "Cancelled: what was used is billed."),
        (404, "This server cannot cancel turns: it goes on."),
        (405, "This server cannot cancel turns: it goes on."),
        (500, "Oops (x). The turn goes on."),
    ],
)
def test_ctrl_c_asks_to_cancel_and_the_turn_is_shown_to_its_end(server, status, told, monkeypatch):
    server.pause = threading.Event()
    server.cut = lambda number: len(b"".join(EVENTS[:3])) if number == 0 else None
    server.answers[f"POST /turns/{TURN_ID}/cancel"] = [(status, {"code": "x", "detail": "Oops."})]
    sitting = sitting_at(server)

    real = sitting.screen.text

    def text(shown, style=""):
        real(shown, style)
        signal.raise_signal(signal.SIGINT)

    warn = sitting.screen.warning

    def warning(shown):
        warn(shown)
        if shown == told:
            server.pause.set()

    monkeypatch.setattr(sitting.screen, "text", text)
    monkeypatch.setattr(sitting.screen, "warning", warning)
    assert sitting.post("hi") is True
    assert f"Asking to cancel; Ctrl-C once more leaves.\n{told}\n" in output_of(sitting)
    assert f"POST /turns/{TURN_ID}/cancel" in server.paths()


def test_a_second_ctrl_c_leaves():
    quiet = threading.Event()

    def source():
        yield 1
        quiet.wait(10)

    def show(_item):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Left):
        watch(source(), show, cancel=lambda: "", say=lambda _text: None)
    quiet.set()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_lost_turn_is_watched_further_by_resume(server, monkeypatch):
    monkeypatch.setattr(sitting_module, "TurnStream", _impatient)
    server.cut = lambda number: len(b"".join(EVENTS[:3])) if number == 0 else None
    sitting = sitting_at(server)
    with pytest.raises(ChatError, match="/resume watches it"):
        sitting.post("hi")
    assert say(sitting, "/resume") is True
    assert output_of(sitting) == SHOWN.format("0.00010000")


@pytest.mark.parametrize(
    ("status", "path"),
    [("running", f"GET /turns/{TURN_ID}/events"), ("interrupted", f"POST /turns/{TURN_ID}/resume/stream")],
)
def test_resume_joins_a_turn_that_runs_and_continues_one_that_was_interrupted(server, status, path):
    server.answers["GET /sessions/s/turns"] = [(200, {"results": [{"id": TURN_ID, "status": status}]})]
    sitting = sitting_at(server)
    assert say(sitting, "/resume") is True
    assert server.paths()[-1] == path
    assert output_of(sitting) == SHOWN.format("0.00010000")


def test_there_is_nothing_to_resume_or_cancel_in_a_turn_that_has_completed(server):
    server.answers["GET /sessions/s/turns"] = [(200, {"results": [{"id": TURN_ID, "status": "completed"}]})]
    for command in ("/resume", "/cancel"):
        with pytest.raises(ChatError, match="the last (turn|one) is completed"):
            say(sitting_at(server), command)


def _impatient(*args, **fields):
    from sessions_app.chat.turn_stream import TurnStream

    return TurnStream(*args, **fields, pauses_s=())


def test_every_command_is_in_the_help_and_an_unknown_one_bills_nothing(server):
    sitting = sitting_at(server)
    say(sitting, "/help")
    assert [line.split()[0] for line in output_of(sitting).splitlines()[:-1]] == list(COMMANDS)
    with pytest.raises(ChatError, match="There is no /nope"):
        say(sitting, "/nope")
    with pytest.raises(Quit):
        say(sitting, "/quit")
    assert server.asked == []


def test_an_export_that_breaks_off_leaves_no_file_and_one_that_is_there_stays(server, tmp_path):
    sitting = sitting_at(server)
    path = tmp_path / "talk.md"
    with pytest.raises(ChatError, match=r"not_found"):
        say(sitting, f"/export {path}")
    assert not path.exists()
    path.write_text("mine")
    with pytest.raises(ChatError, match="is there already"):
        say(sitting, f"/export {path}")
    assert path.read_text() == "mine"
    with pytest.raises(ChatError, match=r"ends in \.md or \.json"):
        say(sitting, "/export talk.pdf")
