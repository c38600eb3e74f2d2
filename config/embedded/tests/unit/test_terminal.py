from __future__ import annotations

from io import StringIO

import pytest

from config.embedded.terminal import Terminal, bill_rows, table


class Tty(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_plain_text() -> None:
    output = StringIO()
    Terminal(output).heading("Optimist")
    assert output.getvalue() == "\nOptimist\n"


def test_a_terminal_gets_colour_unless_its_user_declines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = Tty()
    Terminal(coloured).heading("Optimist")
    assert "\033[1mOptimist\033[0m" in coloured.getvalue()

    monkeypatch.setenv("NO_COLOR", "1")
    plain = Tty()
    Terminal(plain).heading("Optimist")
    assert plain.getvalue() == "\nOptimist\n"


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table(["agent", "output"], [["Optimist", "7"], ["A", "123456789"]]) == [
        "agent        output",
        "-------------------",
        "Optimist          7",
        "A         123456789",
    ]


def test_a_call_without_an_agent_is_listed_by_its_purpose() -> None:
    call = {
        "call_index": 0,
        "agent_name": "",
        "purpose": "summary",
        "model_alias": "local",
        "provider_model": "smollm2-135m",
        "input_tokens_fresh": 5,
        "input_tokens_cache_write": 2,
        "input_tokens_cached": 1,
        "output_tokens": 3,
        "oe_tokens": "5.5500",
        "multiplier": "0.1000",
        "credits_charged": "0.00005550",
    }
    assert bill_rows({"calls": [call]}) == [
        ["0", "summary", "local (smollm2-135m)", "7", "1", "3", "5.5500", "0.1000", "0.00005550"]
    ]
