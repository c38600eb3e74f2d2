from __future__ import annotations

import json

import pytest

from sessions_app.llm.redaction import excerpt
from sessions_app.llm.text import TextStream, clean, label

KEY = "sk-canary-0123456789abcdef"


def say(*deltas: str, key: str = KEY) -> str:
    stream = TextStream(key)
    return "".join([stream.feed(delta) for delta in deltas]) + stream.flush()


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("plain", "plain"),
        ("a\x00b\x00", "ab"),
        ("é日😀", "é日😀"),
        ("a\ud800b", "a\ufffdb"),
        ("\udc00", "\ufffd"),
        ("\ud83d\ude00", "😀"),
        ("\ud83d\ud83d\ude00\ude00", "\ufffd😀\ufffd"),
    ],
)
def test_clean_text_can_be_stored(raw: str, cleaned: str) -> None:
    assert clean(raw) == cleaned


def test_a_surrogate_pair_torn_over_two_deltas_is_joined() -> None:
    high, low = json.loads('"\\ud83d"'), json.loads('"\\ude00"')
    assert say("a" + high, low + "b") == "a😀b"
    assert say("a" + high, "b") == "a\ufffdb"
    assert say("a" + high) == "a\ufffd"


@pytest.mark.parametrize("at", range(len(KEY) + 1))
def test_the_key_is_taken_out_wherever_the_deltas_are_split(at: int) -> None:
    assert say("it is ", KEY[:at], KEY[at:] + ".") == "it is [redacted]."


def test_the_key_is_taken_out_character_by_character_and_at_the_end() -> None:
    assert say(*f"<{KEY}{KEY}>") == "<[redacted][redacted]>"
    assert say(*KEY) == "[redacted]"


def test_the_greater_part_of_the_key_at_the_end_is_taken_out() -> None:
    assert say("it is " + KEY[:-1]) == "it is [redacted]"


def test_words_that_begin_like_the_key_are_kept() -> None:
    words = ("s", "sk", "sk-", "sk-c", "sky ", "is", " sk-canary-0", "1 ", "this")
    assert say(*words) == "".join(words)


def test_a_repeated_beginning_of_the_key_does_not_hide_it() -> None:
    assert say("sk-sk-", KEY[3:], key=KEY) == "sk-[redacted]"


def test_a_short_key_is_no_secret_in_answers() -> None:
    assert say("the local model", key="local") == "the local model"


def test_a_label_is_one_clean_line_cut_to_size() -> None:
    assert label(" gpt\n-4\x00o ", 200, KEY) == "gpt -4o"
    assert label("m" * 500, 200, KEY) == "m" * 200
    assert label(f"m-{KEY}", 200, KEY) == "m-[redacted]"


@pytest.mark.parametrize(
    "message",
    [
        f"Incorrect API key provided: {KEY}.",
        f"Incorrect API key provided: {KEY[:8]}****cdef",
        f"header was Authorization: Bearer {KEY}",
        "Incorrect API key provided: sk-proj-abc***xyz",
        "x" * 190 + KEY,
    ],
)
def test_an_excerpt_shows_no_part_of_a_key(message: str) -> None:
    shown = excerpt(message, KEY)
    assert "canary" not in shown
    assert "abc***xyz" not in shown
    assert "[redact" in shown or shown.endswith("…")


def test_an_excerpt_is_one_short_printable_line() -> None:
    assert excerpt("a\n\tb\x00\x1b[31mc\u2028d\ud800", KEY) == "a b [31mc d?"
    assert len(excerpt("x" * 100_000, KEY)) == 200


def test_a_short_key_is_taken_out_of_an_excerpt_as_a_word_only() -> None:
    assert excerpt("key local at localhost", "local") == "key [redacted] at localhost"
