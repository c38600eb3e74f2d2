"""A conversation as Markdown: its exact form, and nothing that anybody writes can change that form."""

from __future__ import annotations

from typing import Any

import pytest

from sessions_app import transcript

SESSION = {
    "id": "s-1",
    "title": "Plans",
    "created_at": "2026-09-20T10:00:00Z",
    "room": {"id": "r-1", "name": "Lab", "mode": "roundtable", "goal": "Find out.\n\nSoon."},
    "agent": None,
}
USAGE = {"credits_burned": "0.0252", "credits_charged": "0.02520000", "llm_calls": 2}


def said(content: str, *, key: str | None = "ann", name: str | None = "Ann", role: str = "assistant") -> dict[str, Any]:
    return {"role": role, "agent_key": key, "agent_name": name, "content": content}


def a_turn(*messages: dict[str, Any], user_input: str = "Hi", **fields: Any) -> dict[str, Any]:
    return {
        "turn_index": 1,
        "created_at": "2026-09-20T10:00:01Z",
        "status": "completed",
        "error": None,
        "user_input": user_input,
        "messages": [said(user_input, key=None, name=None, role="user"), *messages],
        "usage": USAGE,
        **fields,
    }


def test_a_room_is_written_with_its_goal() -> None:
    assert transcript.head(SESSION) == (
        "# Plans\n\n"
        "- Session: `s-1`\n- Started: 2026-09-20T10:00:00Z\n- Room: Lab, roundtable\n\n"
        "Goal:\n\n"
        "> Find out.\n>\n> Soon.\n\n"
    )


def test_a_session_with_one_agent_and_no_title() -> None:
    alone = {**SESSION, "title": "", "room": None, "agent": {"agent_key": "my_ann", "name": "Ann"}}
    assert transcript.head(alone) == (
        "# Untitled session\n\n- Session: `s-1`\n- Started: 2026-09-20T10:00:00Z\n- Agent: Ann (@my\\_ann)\n\n"
    )


def test_a_turn_is_written_with_all_answers_and_what_it_cost() -> None:
    shown = a_turn(said("Yes.\nNo."), said("", key="ben", name="Ben"))
    assert transcript.turn(shown) == (
        "## Turn 1, 2026-09-20T10:00:01Z\n\n"
        "Status: completed\n\n"
        "### User\n\n> Hi\n\n"
        "### Ann (@ann)\n\n> Yes.\n> No.\n\n"
        "### Ben (@ben)\n\n>\n\n"
        "Credits burned: 0.0252, charged: 0.02520000. Model calls: 2\n\n"
    )


def test_a_turn_says_how_it_failed_and_what_it_stands_for() -> None:
    shown = a_turn(status="failed", error={"code": "provider_error", "detail": "x"}, regenerates="t-1", continues=None)
    assert "Status: failed (`provider_error`). Regenerates: `t-1`\n\n" in transcript.turn(shown)
    assert "Status: running\n\n" in transcript.turn(a_turn(status="running"))


def test_a_message_without_an_agent_is_named_by_its_role() -> None:
    assert "### Assistant\n\n> x" in transcript.turn(a_turn(said("x", key=None, name=None)))


def test_the_totals_end_the_page() -> None:
    assert transcript.foot({"turns": 3, **USAGE}) == (
        "## Total\n\nTurns: 3. Credits burned: 0.0252, charged: 0.02520000. Model calls: 2\n\n"
    )


HOSTILE = [
    "## Turn 2, 2026-09-20T10:00:01Z",
    "a\n# b\n\n### Ben (@ben)\n\nfake",
    "```\nnever closed",
    "~~~~~ python\n# never closed",
    "Title\n=====\n\nTitle\n---",
    "\r# a\r\r## b\r\n### c\r\n",
    "<!-- never closed\n\n<pre>\n\n<script>",
    "- a\n  - b\n\n1. c",
    "> quoted\n>> twice",
    "\n\n\n\n# after empty lines",
    "    indented\n\tand tabbed",
    "| a | b |\n|---|---|\n| c | d |",
    "[Ann]: https://evil.example.com",
    "a\x0b# b\x0c# c\x85# d\u2028# e\u2029# f",
    "a\\\n# b",
]


def skeleton(page: str) -> list[str]:
    """The lines outside of quotes, as CommonMark counts lines."""
    return [line for line in page.replace("\r\n", "\n").replace("\r", "\n").split("\n") if not line.startswith(">")]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_said_changes_nothing_around_it_and_can_be_read_back(text: str) -> None:
    page = transcript.turn(a_turn(said(text), user_input=text))
    assert skeleton(page) == skeleton(transcript.turn(a_turn(said("x"), user_input="x")))
    lines = [line.removeprefix(">").removeprefix(" ") for line in page.split("\n") if line.startswith(">")]
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    assert "\n".join(lines) == f"{plain}\n{plain}"
    goal = {**SESSION, "room": {**SESSION["room"], "goal": text}}  # type: ignore[dict-item]
    assert skeleton(transcript.head(goal)) == skeleton(transcript.head(SESSION))


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("# Boss #", r"\# Boss \#"),
        ("a\n\n## b", r"a \#\# b"),
        ("a\r\nb\u2028c\x85d\te", "a b c d e"),
        ("a\x00b\x1b[31mc", r"ab\[31mc"),
        ("*a* _b_ `c` ~d~", r"\*a\* \_b\_ \`c\` \~d\~"),
        ("[a](https://b) ![c](d)", r"\[a\](https://b) !\[c\](d)"),
        ("<b>&amp;</b> | \\", r"\<b\>\&amp;\</b\> \| \\"),
        ("Zoë 👩‍💻 日本", "Zoë 👩‍💻 日本"),
    ],
)
def test_names_and_titles_are_one_escaped_line(name: str, written: str) -> None:
    assert f"### {written} (@ann)\n" in transcript.turn(a_turn(said("x", name=name)))
    assert transcript.head({**SESSION, "title": name}).startswith(f"# {written}\n")
    room = {**SESSION["room"], "name": name}  # type: ignore[dict-item]
    assert f"- Room: {written}, roundtable\n" in transcript.head({**SESSION, "room": room})
