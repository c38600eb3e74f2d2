"""A conversation as Markdown. Pure: from what the API shows of a session and its turns.

What people and models wrote stands in block quotes, word for word. A quote ends where we end it, so no heading, list or
open code fence within can become part of the page around it. Names and titles are one escaped line.
"""

from __future__ import annotations

import re
from typing import Any

_SPECIAL = re.compile(r"([\\`*_\[\]{}<>#&|~])")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# What CommonMark calls a line ending. `str.splitlines` knows more, which would put marks where no line begins.
_LINE_END = re.compile(r"\r\n|\n|\r")
# Members of a turn that name another turn of the session.
_RELATED = ("continues", "regenerates", "regenerated_by")


def head(session: dict[str, Any]) -> str:
    room, agent = session["room"], session["agent"]
    facts = [f"- Session: `{session['id']}`", f"- Started: {session['created_at']}"]
    if agent is not None:
        facts.append(f"- Agent: {_inline(agent['name'])} (@{_inline(agent['agent_key'])})")
    if room is not None:
        facts.append(f"- Room: {_inline(room['name'])}, {room['mode']}")
    goal = ["Goal:", _quoted(room["goal"])] if room is not None and room["goal"] else []
    return _blocks(f"# {_inline(session['title']) or 'Untitled session'}", "\n".join(facts), *goal)


def turn(shown: dict[str, Any]) -> str:
    usage = shown["usage"]
    return _blocks(
        f"## Turn {shown['turn_index']}, {shown['created_at']}",
        _status(shown),
        "### User",
        _quoted(shown["user_input"]),
        *[
            block
            for message in shown["messages"]
            if message["role"] != "user"
            for block in (f"### {_speaker(message)}", _quoted(message["content"]))
        ],
        _cost(usage["credits_burned"], usage["credits_charged"], usage["llm_calls"]),
    )


def foot(totals: dict[str, Any]) -> str:
    return _blocks(
        "## Total",
        f"Turns: {totals['turns']}. " + _cost(totals["credits_burned"], totals["credits_charged"], totals["llm_calls"]),
    )


def _status(shown: dict[str, Any]) -> str:
    error = f" (`{shown['error']['code']}`)" if shown.get("error") else ""
    related = [f"{name.replace('_', ' ').capitalize()}: `{shown[name]}`" for name in _RELATED if shown.get(name)]
    return ". ".join([f"Status: {shown['status']}{error}", *related])


def _cost(burned: str, charged: str, llm_calls: int) -> str:
    return f"Credits burned: {burned}, charged: {charged}. Model calls: {llm_calls}"


def _speaker(message: dict[str, Any]) -> str:
    key = f" (@{_inline(message['agent_key'])})" if message["agent_key"] else ""
    return (_inline(message["agent_name"] or "") or message["role"].capitalize()) + key


def _blocks(*blocks: str) -> str:
    return "".join(f"{block}\n\n" for block in blocks)


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" if line else ">" for line in _LINE_END.split(text))


def _inline(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", _CONTROLS.sub("", " ".join(text.split())))
