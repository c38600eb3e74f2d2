"""What the terminal client writes, to the character: with and without colours, and whatever a model says."""

from __future__ import annotations

import io
import re
from decimal import Decimal

import pytest

from sessions_app.chat import reports
from sessions_app.chat.events import Event
from sessions_app.chat.problems import Problem
from sessions_app.chat.safe_text import neutralised, table, width
from sessions_app.chat.screen import Palette, Screen
from sessions_app.chat.turn_stream import Reconnecting
from sessions_app.chat.turn_view import TurnView

USAGE = {"input_tokens_fresh": 120, "input_tokens_cached": 40, "output_tokens": 80}


def started(key, purpose="agent"):
    return "agent_started", {"agent_key": key, "agent_name": key.title(), "model_alias": "gpt-4o", "purpose": purpose}


def chunk(key, text):
    return "chunk", {"agent_key": key, "delta": text}


def finished(key, status="success", credits="0.02520000"):
    return "agent_finished", {
        "agent_key": key, "status": status, "usage": USAGE, "credits_burned": credits[:6], "credits_charged": credits,
    }  # fmt: skip


def done(status="completed", **fields):
    data = {"credits_charged": "0.07560000", "balance_after": "0.92440000", "low_balance": True}
    return "done", {"status": status, **data, **fields}


SCRIPT = [
    ("turn_started", {"agents": [{"agent_key": "optimist"}, {"agent_key": "skeptic"}]}),
    ("warning", {"code": "unknown_agent_tags", "detail": "No agent of this room is called @cook."}),
    started("orchestrator", "router"),
    finished("orchestrator"),
    ("round_start", {"round": 1}),
    started("skeptic"),
    chunk("skeptic", "No."),
    ("tool_started", {"agent_key": "skeptic", "tool_name": "search", "arguments": {"query": "Grüße"}}),
    ("tool_finished", {"agent_key": "skeptic", "tool_name": "search", "status": "success", "latency_ms": 12}),
    chunk("skeptic", "Not\tat 汤 all.\n"),
    finished("skeptic"),
    started("optimist"),
    chunk("optimist", "Ye"),
    chunk("optimist", "s."),
    finished("optimist", "error"),
    ("round_end", {"round": 1}),
    ("something_new", {}),
    done("partial"),
]


def shown(events, *, coloured=False, sitting="0.1"):
    output = io.StringIO()
    view = TurnView(Screen(output, coloured=coloured), Palette())
    for seq, item in enumerate(events, 1):
        view.show(item if isinstance(item, Reconnecting) else Event(seq, *item))
    view.closing_line(Decimal(sitting))
    return output.getvalue()


PLAIN = """\
! No agent of this room is called @cook. (unknown_agent_tags)

Orchestrator · gpt-4o · router
  120 fresh + 40 cached in · 80 out · 0.02520000 credits · so far 0.02520000

Round 1

Skeptic · gpt-4o · agent · so far 0.02520000
No.
  → search {"query": "Grüße"}
  ← search · success · 12 ms
Not\tat 汤 all.
  120 fresh + 40 cached in · 80 out · 0.02520000 credits · so far 0.05040000

Optimist · gpt-4o · agent · so far 0.05040000
Yes.
  120 fresh + 40 cached in · 80 out · 0.02520000 credits · so far 0.07560000 · error
■ this turn 0.07560000 credits · this sitting 0.17560000 · balance 0.92440000 LOW · partial
"""


def test_a_turn_without_colours():
    assert shown(SCRIPT, sitting="0.17560000") == PLAIN


def test_colours_change_nothing_but_colours():
    coloured = shown(SCRIPT, coloured=True, sitting="0.17560000")
    assert re.sub("\033\\[[0-9;]+m", "", coloured) == PLAIN
    # In the order of the room, whoever speaks first.
    assert "\033[36mYe\033[0m\033[36ms.\033[0m\n" in coloured
    assert "\033[35mNo.\033[0m\n" in coloured
    assert "\033[1;35mSkeptic\033[0m\033[2m · gpt-4o\033[0m\033[2m · agent\033[0m" in coloured
    assert "\033[1m · balance 0.92440000\033[0m\033[1;31m LOW\033[0m\033[33m · partial\033[0m\n" in coloured
    assert coloured.count("\033[") == 2 * coloured.count("\033[0m")


HOSTILE = "a\033[2Jb\033]0;title\007c\x9b31md\rOK\x00\x7f\u202egnp.exe\u2066\ud800 z\r\n\tend"
HARMLESS = "a␛[2Jb␛]0;title␇c�31md␍OK␀␡�gnp.exe�� z\n\tend"


def test_what_a_model_says_does_not_steer_the_terminal():
    assert neutralised(HOSTILE) == HARMLESS
    for character in map(chr, (*range(0x20), *range(0x7F, 0xA0))):
        assert neutralised(character) != character or character in "\n\t"
    assert neutralised("汤 🍲 é עברית \u200d") == "汤 🍲 é עברית \u200d"


@pytest.mark.parametrize("coloured", [False, True])
def test_nothing_hostile_reaches_the_terminal_by_any_way(coloured):
    events = [
        ("turn_started", {"agents": [{"agent_key": HOSTILE}]}),
        ("warning", {"code": HOSTILE, "detail": HOSTILE}),
        ("agent_started", {"agent_key": HOSTILE, "agent_name": HOSTILE, "model_alias": HOSTILE, "purpose": HOSTILE}),
        chunk(HOSTILE, HOSTILE),
        ("tool_started", {"tool_name": HOSTILE, "arguments": {HOSTILE: HOSTILE}}),
        ("tool_finished", {"tool_name": HOSTILE, "status": HOSTILE, "latency_ms": HOSTILE}),
        finished(HOSTILE, HOSTILE),
        ("round_start", {"round": HOSTILE}),
        Reconnecting(0.5, HOSTILE, 2),
        done(HOSTILE, balance_after=HOSTILE),
    ]
    text = shown(events, coloured=coloured)
    rest = re.sub("\033\\[[0-9;]+m", "", text) if coloured else text
    assert not set(rest) & set("\033\007\x00\r\x7f\x9b\u202e\u2066\ud800")
    text.encode()


def test_a_failed_turn_costs_what_its_calls_did():
    output = io.StringIO()
    view = TurnView(Screen(output, coloured=False), Palette())
    for item in (started("a"), finished("a", "timeout"), ("error", {"code": "provider_timeout", "detail": "Slow."})):
        view.show(Event(1, *item))
    assert (view.charged, view.status, view.error) == (Decimal("0.0252"), "failed", "Slow (provider_timeout).")


def test_a_turn_whose_events_are_gone_is_completed_from_what_is_stored():
    output = io.StringIO()
    view = TurnView(Screen(output, coloured=False), Palette())
    for item in (started("a"), chunk("a", "First, and "), started("b")):
        view.show(Event(1, *item))
    messages = [
        {"role": "user", "agent_key": None, "agent_name": None, "content": "Hi"},
        {"role": "assistant", "agent_key": "a", "agent_name": "A", "content": "First, and more."},
        {"role": "assistant", "agent_key": "b", "agent_name": "B", "content": "Second."},
        {"role": "assistant", "agent_key": "a", "agent_name": "A", "content": "Again."},
    ]
    figures = {"usage": {"credits_charged": "0.05"}, "balance_after": "1.00000000", "low_balance": False}
    view.catch_up({"messages": messages, "status": "completed", "error": None, **figures})
    view.closing_line(Decimal("0.05"))
    assert output.getvalue() == (
        "\nA · gpt-4o · agent\nFirst, and \n\nB · gpt-4o · agent\n"
        "\nA\nmore.\n\nB\nSecond.\n\nA\nAgain.\n"
        "■ this turn 0.05 credits · this sitting 0.05 · balance 1.00000000\n"
    )


def test_a_short_loss_of_the_connection_is_not_mentioned_and_a_longer_one_is():
    events = [started("a"), chunk("a", "He"), Reconnecting(0.5, "reset", 1), chunk("a", "llo"), finished("a")]
    assert "\nHello\n" in shown(events)
    events[3:3] = [Reconnecting(1.0, "refused", 2)]
    assert "\nHe\nConnection lost: refused; trying again in 1 s.\nllo\n" in shown(events)


def test_tiny_amounts_are_written_out():
    assert "0.00000010 credits · so far 0.00000010\n" in shown([started("a"), finished("a", credits="0.00000010")])


def test_a_bill_is_a_table_with_the_formula():
    call = {
        "call_index": 1, "agent_key": "a", "agent_name": "汤", "purpose": "agent", "model_alias": "gpt-4o",
        "provider_model": "gpt-4\033[2J", "input_tokens_fresh": 120, "input_tokens_cache_write": 0,
        "input_tokens_cached": 40, "output_tokens": 80, "oe_tokens": "126.0000", "multiplier": "2.0000",
        "credits_charged": "0.02520000", "formula": "(0.35 x 120 fresh) x 2 / 10000 = 0.02520000",
    }  # fmt: skip
    output = io.StringIO()
    bill = {"turn_id": "t", "status": "completed", "pricing_version": "v", "pricing_revision": 3, "tool_calls": []}
    reports.bill(Screen(output, coloured=False), {**bill, "credits_charged": "0.02520000", "calls": [call]})
    assert output.getvalue() == (
        "Bill of turn t · completed\n"
        "#  agent  purpose  model               fresh  cache-write  cached  output  OE tokens  multiplier     credits\n"
        "------------------------------------------------------------------------------------------------------------\n"
        "1  汤     agent    gpt-4o (gpt-4␛[2J)    120            0      40      80   126.0000      2.0000  0.02520000\n"
        "  1: (0.35 x 120 fresh) x 2 / 10000 = 0.02520000\n"
        "Charged 0.02520000 credits at prices v, revision 3\n"
    )


def test_the_tools_of_a_bill_are_a_table_of_their_own():
    tool = {"call_index": 1, "agent_key": "a", "tool_name": "search", "status": "success", "credits_charged": "0.01"}
    output = io.StringIO()
    bill = {"turn_id": "t", "status": "completed", "pricing_version": "v", "pricing_revision": 3, "calls": []}
    reports.bill(Screen(output, coloured=False), {**bill, "credits_charged": "0.01", "tool_calls": [tool]})
    assert output.getvalue().splitlines()[-4:] == [
        "#  agent  tool    status   credits",
        "----------------------------------",
        "1  a      search  success     0.01",
        "Charged 0.01 credits at prices v, revision 3",
    ]


def test_what_a_tool_cost_is_part_of_what_the_turn_has_cost_so_far():
    tool = {"agent_key": "a", "tool_name": "search", "status": "success", "latency_ms": 12}
    told = shown([
        started("a"), ("tool_finished", {**tool, "credits_charged": "0.01000000"}), finished("a", credits="0.02"),
    ])  # fmt: skip
    assert "  ← search · success · 12 ms · 0.01000000 credits\n" in told
    assert "0.02 credits · so far 0.03000000\n" in told


def test_columns_stay_aligned_with_wide_and_joined_characters():
    rows = [["汤汤", 1], ["e\u0301", 22], ["ab\ncd", 3]]
    lines = table(("name", "n"), rows, left={"name"})
    assert lines == ["name    n", "---------", "汤汤    1", "e\u0301      22", "ab cd   3"]
    assert {width(line) for line in lines} == {9}


@pytest.mark.parametrize(
    ("problem", "sentence"),
    [
        (
            Problem(
                402,
                {
                    "code": "insufficient_credits",
                    "detail": "The wallet does not cover it.",
                    "required": "0.2",
                    "available": "0.1",
                    "affordable_models": ["a", "b"],
                    "affordable_max_output_tokens": 7,
                },
            ),  # fmt: skip
            "The wallet does not cover it (insufficient_credits); needed 0.2, available 0.1;"
            " models that would fit: a, b; an answer of at most 7 tokens would fit.",
        ),
        (
            Problem(402, {"code": "insufficient_credits", "detail": "Not one answer.", "affordable_models": []}),
            "Not one answer (insufficient_credits); models that would fit: none.",
        ),
        (
            Problem(429, {"code": "rate_limited", "detail": "Too many turns.", "retry_after_seconds": 12}),
            "Too many turns (rate_limited); try again in 12 s.",
        ),
        (
            Problem(
                422,
                {
                    "code": "validation_error",
                    "detail": "a: No.",
                    "errors": [{"field": "a", "detail": "No."}, {"field": "b", "detail": "Neither."}],
                },
            ),  # fmt: skip
            "a: No; b: Neither (validation_error).",
        ),
        (Problem(500, {}), "Refused with 500 (http_500)."),
    ],
)
def test_a_problem_is_one_sentence_with_its_code(problem, sentence):
    assert str(problem) == sentence
