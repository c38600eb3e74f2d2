"""A session's title, from its first exchange. Pure."""

from __future__ import annotations

from sessions_app.llm.text import clean
from sessions_app.llm.types import Message

MAX_OUTPUT_TOKENS = 32
MAX_CHARS = 80
EXCERPT_CHARS = 2_000
_QUOTES = "\"'“”‘’«»`*# "
INSTRUCTIONS = (
    "You name conversations. Answer with a title of at most six words for the one below, in its language, and nothing"
    " else."
)


def from_message(message: str) -> str:
    """The beginning of the user's first message, cut between words."""
    return _short(" ".join(clean(message).split()))


def from_answer(text: str) -> str:
    """The title in a model's answer; empty where there is none."""
    lines = [line for line in clean(text).splitlines() if line.strip()]
    said = " ".join(lines[0].split()) if lines else ""
    said = said.removeprefix("Title:").strip(_QUOTES).rstrip(".")
    return _short(said)


def messages(user_input: str, answer: str) -> tuple[Message, ...]:
    exchange = f"The user wrote:\n{user_input[:EXCERPT_CHARS]}\n\nThe answer was:\n{answer[:EXCERPT_CHARS]}"
    return (Message("system", INSTRUCTIONS), Message("user", exchange))


def _short(text: str) -> str:
    if len(text) <= MAX_CHARS:
        return text
    cut = text[: MAX_CHARS - 1]
    return (cut[: cut.rfind(" ")] if " " in cut[MAX_CHARS // 2 :] else cut).rstrip(" ,;:-") + "…"
