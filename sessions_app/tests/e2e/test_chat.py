"""`manage.py chat` as a process of its own, at a real server: what it shows and what it costs, to the character."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher

from billing.models import CreditTransaction
from sessions_app.models import Room, Session, Turn
from sessions_app.tests.e2e.cutting_proxy import CuttingProxy
from sessions_app.tests.e2e.servers import ROOT
from sessions_app.tests.e2e.terminal import Terminal
from sessions_app.tests.makers import PASSWORD, make_person, make_session
from sessions_app.tests.scripted_provider import Reply
from users.models import User

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]

# 120 fresh, 40 cached, 80 output: 126.0000 OE tokens, 0.0252 credits on gpt-4o (x 2.0).
USAGE = {"prompt_tokens": 160, "completion_tokens": 80, "prompt_tokens_details": {"cached_tokens": 40}}
COST = "120 fresh + 40 cached in · 80 out · 0.02520000 credits"
RUN_S = 60


def said_by(body):
    return body["messages"][0]["content"].split("\n")[0].removeprefix("You are ").removesuffix(".")


def speak(body):
    return Reply(chunks=(f"I am {said_by(body)}", ", 汤 \033[2J."), usage=USAGE)


def piped(server, text, *arguments, token="", **environment):
    """The command with this text on its standard input: exit code, standard output, standard error."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TALLYROOM_", "DATABASE_"))}
    done = subprocess.run(
        [sys.executable, "manage.py", "chat", "--url", server.url, *arguments],
        input=text,
        capture_output=True,
        check=False,
        text=True,
        cwd=ROOT,
        timeout=RUN_S,
        env={**clean, **({"TALLYROOM_TOKEN": token} if token else {}), **environment},
    )
    return done.returncode, done.stdout, done.stderr


def test_lines_of_a_pipe_are_answered_and_paid(web, script):
    script.reply = speak
    alice = make_person("alice", credits="1")
    make_session(alice, "optimist", "skeptic")
    code, shown, errors = piped(web, "Shall we?\n/bill\n", "--room", "room", "--plain", token=alice.token)
    assert (code, errors) == (0, "")
    session = Session.objects.filter(room__user_id=alice.id).order_by("-id").first()
    turn = Turn.objects.get(session=session)
    assert (turn.user_input, turn.status) == ("Shall we?", "completed")
    assert shown == (
        f"{alice.email} at {web.url} · balance 1.00000000 LOW\n"
        "Room (roundtable) · @optimist (gpt-4o), @skeptic (gpt-4o)\n"
        f"Session {session.id}\n"
        "> Shall we?\n"
        "\n"
        "Optimist · gpt-4o · agent\n"
        "I am optimist, 汤 ␛[2J.\n"
        f"  {COST} · so far 0.02520000\n"
        "\n"
        "Skeptic · gpt-4o · agent · so far 0.02520000\n"
        "I am skeptic, 汤 ␛[2J.\n"
        f"  {COST} · so far 0.05040000\n"
        "\n"
        "■ this turn 0.05040000 credits · this sitting 0.05040000 · balance 0.94960000 LOW\n"
        "> /bill\n"
        f"Bill of turn {turn.id} · completed\n"
        "#  agent     purpose  model            fresh  cache-write  cached  output  OE tokens  multiplier     credits\n"
        "------------------------------------------------------------------------------------------------------------\n"
        "1  Optimist  agent    gpt-4o (gpt-4o)    120            0      40      80   126.0000      2.0000  0.02520000\n"
        "2  Skeptic   agent    gpt-4o (gpt-4o)    120            0      40      80   126.0000      2.0000  0.02520000\n"
        "  1: (0.35 x 120 fresh + 0.35 x 0 cache-write + 0.1 x 40 cached + 1 x 80 output) x 2 / 10000 = 0.02520000\n"
        "  2: (0.35 x 120 fresh + 0.35 x 0 cache-write + 0.1 x 40 cached + 1 x 80 output) x 2 / 10000 = 0.02520000\n"
        f"Charged 0.05040000 credits at prices 2026-02-20, revision {turn.pricing_revision}\n"
    )


def test_every_command_of_a_sitting(web, script, tmp_path):
    script.reply = speak
    alice = make_person("alice", credits="100")
    session = make_session(alice, "optimist")
    file = tmp_path / "talk.md"
    lines = [
        "Hello", "/wallet", "/usage", "/rooms", "/agents", "/history", "/context", "/estimate What now?", "/regenerate",
        "/mode manual", "@optimist and now?", f"/export {file}", "/help", "/quit",
    ]  # fmt: skip
    code, shown, errors = piped(web, "\n".join(lines), "--session", str(session), token=alice.token)
    assert (code, errors) == (0, "")
    parts = dict(re.findall(r"^> ([^\n]*)\n(.*?)(?=^> |\Z)", shown, re.DOTALL | re.MULTILINE))
    assert list(parts) == lines
    assert parts["/wallet"].startswith(
        "Balance 99.97480000\nHeld 0.00000000 · available 99.97480000 · enforcement hard\n"
    )
    assert parts["/usage"].splitlines()[-1] == "all         1    120      40      80   126.0000  0.02520000"
    assert parts["/rooms"].startswith("   1  Room · roundtable · ")
    assert parts["/agents"].splitlines()[-1] == "@optimist  Optimist  gpt-4o         0.07000000  0.20000000"
    assert parts["/history"] == "\nyou\nHello\n\nOptimist\nI am optimist, 汤 ␛[2J.\n"
    assert parts["/context"].startswith("all: gpt-4o could read ")
    assert re.fullmatch(
        r"At most \S+ credits · first call at most \S+ · available 99\.97480000\nReal turns mostly cost less\.\n",
        parts["/estimate What now?"],
    )
    for turn, sum_, balance in (("/regenerate", 504, "99.94960000"), ("@optimist and now?", 756, "99.92440000")):
        assert parts[turn].splitlines()[-1] == (
            f"■ this turn 0.02520000 credits · this sitting 0.0{sum_}0000 · balance {balance}"
        )
    assert Room.objects.get(user_id=alice.id).mode == "manual"
    assert "and now?" in file.read_text()


def test_what_fails_fails_the_command(web, script):
    script.reply = speak
    alice, poor = make_person("alice"), make_person("poor", credits="0.00001")
    make_session(alice, "optimist", mode="manual")
    make_session(poor, "optimist")
    assert piped(web, "Hi\n", "--room", "Nowhere", token=alice.token)[::2] == (
        1, "CommandError: You have no room that is called Nowhere.\n",
    )  # fmt: skip
    code, _, error = piped(web, "@cook hi\nNever\n", token=alice.token)
    assert code == 1
    assert "(no_valid_tagged_agents)." in error
    code, _, error = piped(web, "Hi\n", token=poor.token)
    assert code == 1
    assert "(insufficient_credits); needed " in error
    assert "available 0.00001000; models that would fit: none." in error
    code, _, error = piped(web, "Hi\n", token="wrong")
    assert (code, error) == (
        1, "CommandError: Not signed in: set TALLYROOM_TOKEN, or TALLYROOM_EMAIL and TALLYROOM_PASSWORD.\n",
    )  # fmt: skip
    script.reply = Reply(status=500, error={"message": "no"})
    code, shown, _ = piped(web, "@optimist hi\n", token=alice.token, TALLYROOM_EMAIL="unused")
    assert code == 1
    assert shown.endswith("balance 10.00000000 · failed\n")
    assert Turn.objects.filter(session__room__user_id__in=[alice.id, poor.id]).count() == 1


def test_a_newcomer_signs_in_makes_a_room_and_is_answered_in_colours(web, script):
    script.reply = speak
    alice = make_person("alice")
    # As the web process would store it: it does not know the quick hashes of tests.
    hashed = PBKDF2PasswordHasher().encode(PASSWORD, "salt", iterations=1)
    User.objects.filter(pk=alice.id).update(password=hashed)
    aliases = [model["model_alias"] for model in web.client(alice.token).get("/models").json()["results"]]
    environment = {"NO_COLOR": "", "TALLYROOM_TOKEN": "", "TALLYROOM_EMAIL": "", "TALLYROOM_PASSWORD": ""}
    answers = [
        ("E-mail: ", alice.email), ("Password: ", "wrong"), ("E-mail: ", alice.email), ("Password: ", PASSWORD),
        ("Name of the room [First room]: ", ""), ("Mode [1]: ", "1"), ("Key of the first agent [assistant]: ", "Cook"),
        ("Its role [", "You are cook."), ("Its model [1]: ", "0"),
        ("Its model [1]: ", str(aliases.index("gpt-4o") + 1)), ("Enter if these are all: ", ""),
    ]  # fmt: skip
    with Terminal(["manage.py", "chat", "--url", web.url], **environment) as terminal:
        for question, answer in answers:
            terminal.wait_for(question)
            terminal.type_when_asked(answer)
        terminal.wait_for("First room (roundtable) · @cook (gpt-4o)\n")
        terminal.wait_for("you> ")
        terminal.type_when_asked("What is for lunch?")
        terminal.wait_for("lunch?\n")
        turn = terminal.wait_for("you> ")
        assert turn.replace("\033[0m\033[36m", "") == (
            "\n"
            "\033[1;36mCook\033[0m\033[2m · gpt-4o\033[0m\033[2m · agent\033[0m\n"
            "\033[36mI am cook, 汤 ␛[2J.\033[0m\n"
            f"\033[2m  {COST} · so far 0.02520000\033[0m\n"
            "\n"
            "\033[32m■ \033[0mthis turn 0.02520000 credits · this sitting 0.02520000"
            "\033[1m · balance 9.97480000\033[0m\n"
            "\033[1myou> "
        )
        terminal.type_when_asked("/quit")
        assert terminal.exit_code() == 0
    assert "\033[1;31mThe e-mail address or the password is wrong (not_authenticated).\033[0m\n" in terminal.shown
    assert PASSWORD not in terminal.shown
    assert Turn.objects.filter(session__room__user_id=alice.id, status="completed").count() == 1


def test_a_connection_that_breaks_all_the_time_costs_no_character(web, script):
    pieces = tuple(f"piece {n}, 汤 " for n in range(30))
    script.reply = Reply(chunks=pieces, usage=USAGE, delay_s=0.03)
    alice = make_person("alice")
    session = make_session(alice, "optimist")
    with CuttingProxy(web.port, cut_bytes=1000) as proxy:
        code, shown, errors = piped(proxy, "Count.\n", "--session", str(session), token=alice.token)
    assert (code, errors) == (0, "")
    assert proxy.cuts >= 4
    assert shown.split("> Count.\n")[1] == (
        "\nOptimist · gpt-4o · agent\n"
        f"{''.join(pieces)}\n"
        f"  {COST} · so far 0.02520000\n"
        "\n"
        "■ this turn 0.02520000 credits · this sitting 0.02520000 · balance 9.97480000\n"
    )
    assert Turn.objects.filter(session=session).count() == 1


def test_ctrl_c_cancels_the_turn_and_what_was_used_is_billed(web, script):
    script.reply = Reply(chunks=tuple(f"piece {n} " for n in range(200)), usage=USAGE, delay_s=0.1)
    alice = make_person("alice")
    session = make_session(alice, "optimist")
    arguments = ["manage.py", "chat", "--url", web.url, "--session", str(session), "--plain"]
    with Terminal(arguments, TALLYROOM_TOKEN=alice.token) as terminal:
        terminal.wait_for("you> ")
        terminal.type_when_asked("Count.")
        terminal.wait_for("piece 1")
        terminal.type("\003")
        terminal.wait_for("Asking to cancel; Ctrl-C once more leaves.\n")
        shown = terminal.wait_for("you> ")
        terminal.type_when_asked("/quit")
        assert terminal.exit_code() == 0
    assert "\033[0" not in terminal.shown
    turn = Turn.objects.get(session=session)
    assert turn.status == "cancelled"
    debits = CreditTransaction.objects.filter(user_id=alice.id, kind="debit")
    charged = -sum(entry.amount for entry in debits)
    assert charged > 0
    assert shown.endswith(
        f"■ this turn {charged} credits · this sitting {charged} · balance {10 - charged} · cancelled\nyou> "
    )
