"""What a turn would cost at most: the same planning, windows and bounds that opening uses, and nothing held."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.conf import settings

from billing import ledger, reports
from config.core.money import ZERO, ledger_text
from sessions_app.context import titling
from sessions_app.context.window import compose, input_budget
from sessions_app.llm.estimate import input_bound
from sessions_app.orchestration import asks, routing
from sessions_app.orchestration.asks import Ask
from sessions_app.turns.opening import plan_only
from sessions_app.turns.preparing import chain_of, most, reader_of
from sessions_app.turns.turn import Prepared, TurnRequest

# An answer of n tokens is read again by the next agent, perhaps through another tokenizer: counted as at most 4 n.
_REREAD_FACTOR = 4
_MESSAGE_TOKENS = 8


def estimate(request: TurnRequest) -> dict[str, Any]:
    """`{"credits_max", "credits_first_call", "available", "would_be_refused"}`.

    Raises as opening does, but for money.
    """
    prepared = plan_only(request)
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
    """The bounds of all calls that the turn may make, each reading the longest answers that those before it can give.

    Where an orchestrator routes: both rounds with everybody in them, each with a repair, and the synthesis.
    """
    plan = prepared.plan
    total, heard = _notes_and_title(request, prepared), 0
    agents = [asks.speech(speaker) for speaker in plan.speakers]
    if plan.mode == "orchestrator":
        round_ = [asks.route(plan), asks.route(plan, failed="x" * routing.ANSWER_MAX_CHARS)]
        dearest = sorted((_call(request, prepared, ask, 0)[0] for ask in agents), reverse=True)
        calls = [*round_, *agents, *round_, *agents, asks.synthesise(plan, ())]
        # Of more agents than may speak in a round, the dearest ones.
        total -= 2 * sum(dearest[routing.MAX_SPEAKERS :], ZERO)
    else:
        calls = agents
    for ask in calls:
        cost, output_tokens = _call(request, prepared, ask, heard)
        total += cost
        if ask.purpose == "agent" and plan.mode in {"roundtable", "orchestrator"}:
            heard += output_tokens * _REREAD_FACTOR + _MESSAGE_TOKENS
    return total


def _call(request: TurnRequest, prepared: Prepared, ask: Ask, heard: int) -> tuple[Decimal, int]:
    """What a call costs at most after `heard` tokens of answers, and how long its answer may be.

    Where the alias has fallbacks, it is the dearest that may come to answer.
    """
    window = compose(reader_of(ask, prepared.book, request), prepared.conversation)
    costs = [ZERO]
    for price in chain_of(prepared.book, ask.speaker.model_alias):
        reader = ask.reader(context_tokens=price.context_tokens, max_output_tokens=request.max_output_tokens)
        budget = input_budget(context_tokens=reader.context_tokens, max_output_tokens=reader.max_output_tokens)
        input_tokens = max(window.input_tokens, min(window.input_tokens + heard, budget))
        costs.append(most(input_tokens, min(reader.max_output_tokens, price.context_tokens), price, prepared.book))
    return max(costs), window.output_tokens


def _notes_and_title(request: TurnRequest, prepared: Prepared) -> Decimal:
    """The turn's own calls: the summary that is due, and the title of an untitled session."""
    book, alias = prepared.book, prepared.plan.housekeeper.model_alias
    due, total = prepared.summary, ZERO
    if due is not None:
        total += max(most(due.input_tokens, due.output_tokens, price, book) for price in chain_of(book, alias))
    if settings.SESSION_TITLES == "model" and prepared.is_untitled:
        size = input_bound(titling.messages(request.message, "x" * titling.EXCERPT_CHARS))
        costs = [most(size, titling.MAX_OUTPUT_TOKENS, price, book) for price in chain_of(book, alias)]
        total += max(costs, default=ZERO)
    return total
