from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from config.embedded.bill_check import credits_of, disagreements, oe_tokens


def make_call(**changes: Any) -> dict[str, Any]:
    return {
        "call_index": 0,
        "input_tokens_fresh": 120,
        "input_tokens_cached": 40,
        "input_tokens_cache_write": 0,
        "output_tokens": 80,
        "multiplier": "2.0000",
        "oe_tokens": "126.0000",
        "credits_charged": "0.02520000",
        **changes,
    }


def make_story(**changes: Any) -> dict[str, Any]:
    bill = {"calls": [make_call()], "credits_charged": "0.02520000", "balance_after": "9.97480000"}
    return {
        "bill": bill,
        "balance_before": "10.00000000",
        "balance_after": "9.97480000",
        "debits": [{"amount": "-0.02520000"}],
        **changes,
    }


def test_the_contract_s_example() -> None:
    assert oe_tokens(make_call()) == Decimal("126")
    assert credits_of(make_call()) == Decimal("0.02520000")


def test_credits_are_rounded_half_even_at_eight_places() -> None:
    call = make_call(input_tokens_fresh=0, input_tokens_cached=0, output_tokens=1, multiplier="0.00005")
    assert credits_of(call) == Decimal("0E-8")
    assert credits_of({**call, "multiplier": "0.00015"}) == Decimal("0.00000002")


def test_a_bill_that_holds_has_no_disagreements() -> None:
    assert disagreements(**make_story()) == []


def test_a_call_that_costs_nothing_has_no_debit() -> None:
    free = make_call(
        call_index=1,
        input_tokens_fresh=0,
        input_tokens_cached=0,
        output_tokens=0,
        oe_tokens="0.0000",
        credits_charged="0.00000000",
    )
    story = make_story()
    story["bill"]["calls"].append(free)
    assert disagreements(**story) == []


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"balance_after": "9.97470000"}, "the wallet moved by"),
        ({"balance_before": "10.00000001"}, "the wallet moved by"),
        ({"debits": []}, "the ledger holds debits of nothing"),
        ({"debits": [{"amount": "-0.02520000"}] * 2}, "the ledger holds debits of"),
        (
            {"bill": {"calls": [make_call()], "credits_charged": "0.02520001", "balance_after": "9.97480000"}},
            "the bill charges 0.02520001",
        ),
        (
            {"bill": {"calls": [make_call()], "credits_charged": "0.02520000", "balance_after": "1.00000000"}},
            "the bill leaves 1.00000000",
        ),
        (
            {
                "bill": {
                    "calls": [make_call(oe_tokens="125.0000")],
                    "credits_charged": "0.02520000",
                    "balance_after": "9.97480000",
                }
            },
            "call 0: 125.0000 OE tokens billed",
        ),
    ],
)
def test_whatever_tells_another_story_is_named(changes: dict[str, Any], complaint: str) -> None:
    assert any(complaint in found for found in disagreements(**make_story(**changes)))
