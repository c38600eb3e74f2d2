"""What a turn would cost at most: the same planning, window and bound that opening uses, and nothing held."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from billing import ledger, reports
from config.core.money import ZERO, ledger_text
from pricing.rating import bound
from sessions_app.context.window import input_budget
from sessions_app.turns.opening import prepare, price_of, window_for
from sessions_app.turns.turn import Prepared, TurnRequest

# An answer of n tokens is read again by the next agent, perhaps through another tokenizer: counted as at most 4 n.
_REREAD_FACTOR = 4
_MESSAGE_TOKENS = 8


def estimate(request: TurnRequest) -> dict[str, Any]:
    """`{"credits_max", "credits_first_call", "available", "would_be_refused"}`.

    Raises as opening does, but for money.
    """
    prepared = prepare(request)
    # A first look makes the wallet with its welcome grant, as opening would.
    ledger.get_or_create_wallet(user_id=request.user_id)
    available = reports.wallet_summary(user_id=request.user_id).available
    return {
        "credits_max": ledger_text(_most(request, prepared)),
        "credits_first_call": ledger_text(prepared.first_hold),
        "available": ledger_text(available),
        "would_be_refused": prepared.enforcement == "hard" and available < prepared.first_hold,
    }


def _most(request: TurnRequest, prepared: Prepared) -> Decimal:
    """All speakers' bounds. In a round table each also reads the longest answers that those before it can give."""
    total, heard = ZERO, 0
    for speaker in prepared.plan.speakers:
        price = price_of(prepared.book, speaker.model_alias)
        window = window_for(
            speaker, book=prepared.book, goal=prepared.goal, history=prepared.history, request=request, answers=()
        )
        budget = input_budget(context_tokens=price.context_tokens, max_output_tokens=request.max_output_tokens)
        total += bound(
            input_tokens=max(window.input_tokens, min(window.input_tokens + heard, budget)),
            output_tokens=min(request.max_output_tokens, price.context_tokens),
            multiplier=price.multiplier,
            weights=prepared.book.weights,
        )
        if prepared.plan.mode == "roundtable":
            heard += window.output_tokens * _REREAD_FACTOR + _MESSAGE_TOKENS
    return total
