"""What a turn would cost at most: the same planning, windows and bounds that opening uses, and nothing held."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.conf import settings

from billing import ledger
from billing.errors import SpendingLimitReached
from billing.ledger import Place
from config.core.money import ZERO, ledger_text
from sessions_app.context import titling
from sessions_app.context.conversation import Notes, Utterance, as_read_by, as_summary, explains_marks
from sessions_app.context.window import bound_count, compose, input_budget
from sessions_app.errors import ContextBudgetExceeded
from sessions_app.llm.estimate import BOUND_BYTES_PER_TOKEN, input_bound
from sessions_app.orchestration import asks, routing
from sessions_app.orchestration.asks import Ask
from sessions_app.tools import limits
from sessions_app.turns.opening import plan_only
from sessions_app.turns.preparing import chain_of, most, reader_of
from sessions_app.turns.turn import Prepared, TurnRequest

# An answer of n tokens is read again by the next agent, perhaps through another tokenizer: counted as at most 4 n.
_REREAD_FACTOR = 4
# As many bytes as a character can take.
_WIDEST = "\U0001f600"
# What a second round has heard, for the words of its questions.
_HEARD = (Utterance("", "", ""),)
# All that tools may say in a turn, and all that may be written to ask for it, each result in its frame.
_TOOL_TOKENS = (limits.TURN_RESULT_BYTES + limits.CALLS * (limits.ARGUMENT_BYTES + 600)) // BOUND_BYTES_PER_TOKEN


def estimate(request: TurnRequest) -> dict[str, Any]:
    """`{"credits_max", "credits_first_call", "available", "would_be_refused", "refused_by"}`: the gate's own numbers.

    Raises as opening does, but for money.
    """
    prepared = plan_only(request)
    preview = ledger.preview_hold(
        user_id=request.user_id,
        shares=[prepared.first_share],
        place=Place(prepared.room_id, request.api_key_id),
    )
    refuses = isinstance(preview.refusal, SpendingLimitReached) or (
        preview.refusal is not None and prepared.enforcement == "hard"
    )
    return {
        "credits_max": ledger_text(_most(request, prepared)),
        "credits_first_call": ledger_text(prepared.first_hold),
        "available": ledger_text(preview.available),
        "would_be_refused": refuses,
        "refused_by": preview.refusal.code if preview.refusal is not None and refuses else None,
    }


def _most(request: TurnRequest, prepared: Prepared) -> Decimal:
    """The bounds of all calls that the turn may make, each reading the longest answers that those before it can give.

    Where an orchestrator routes: both rounds with everybody in them, each with a repair, and the synthesis.
    """
    plan, mark = prepared.plan, prepared.conversation.mark
    total, heard = _notes_and_title(request, prepared), _notes_read(prepared)
    agents = [asks.speech(speaker) for speaker in plan.speakers]
    if plan.mode == "orchestrator":
        failed = _WIDEST * routing.ANSWER_MAX_CHARS
        first, second = ([asks.route(plan, said), asks.route(plan, said, failed=failed)] for said in ((), _HEARD))
        dearest = sorted((_call(request, prepared, ask, 0)[0] for ask in agents), reverse=True)
        calls = [*first, *agents, *second, *agents, asks.synthesise(plan, ())]
        # Of more agents than may speak in a round, the dearest ones.
        total -= 2 * sum(dearest[routing.MAX_SPEAKERS :], ZERO)
    else:
        calls = agents
    for ask in calls:
        cost, output_tokens = _call(request, prepared, ask, heard)
        total += cost
        if ask.purpose == "agent" and plan.mode in {"roundtable", "orchestrator"}:
            frame = as_read_by(Utterance(ask.speaker.agent_key, ask.speaker.agent_name, ""), "", mark)
            heard = heard or bound_count(explains_marks(mark))
            heard += output_tokens * _REREAD_FACTOR + bound_count(frame.content)
    return total


def _call(request: TurnRequest, prepared: Prepared, ask: Ask, heard: int) -> tuple[Decimal, int]:
    """What a call costs at most after `heard` tokens of answers, and how long its answer may be.

    Where the alias has fallbacks, it is the dearest that may come to answer.
    """
    reader = reader_of(ask, prepared.book, request, prepared.plan, mark=prepared.conversation.mark)
    uses_tools = reader.tools or reader.is_choice
    try:
        window = compose(reader, prepared.conversation)
        read, output_tokens = window.input_tokens, window.output_tokens
    except ContextBudgetExceeded:
        # By its bound it does not fit: it is counted exactly and takes at most all there is, or it is not asked.
        read, output_tokens = reader.context_tokens, reader.max_output_tokens
    # A choice of a tool is short; the answer after it is not.
    output_tokens = request.max_output_tokens if reader.is_choice else output_tokens
    costs = [ZERO]
    for price in chain_of(prepared.book, ask.speaker.model_alias):
        reader = ask.reader(context_tokens=price.context_tokens, max_output_tokens=request.max_output_tokens)
        budget = input_budget(context_tokens=reader.context_tokens, max_output_tokens=reader.max_output_tokens)
        input_tokens = max(read, min(read + heard, budget))
        written = min(reader.max_output_tokens, price.context_tokens)
        cost = most(input_tokens, written, price, prepared.book)
        if uses_tools:
            # Each further step may read all that tools may say and all that was written to ask for it.
            fuller = max(read, min(read + heard + _TOOL_TOKENS, budget))
            cost += (limits.MODEL_STEPS - 1) * most(fuller, written, price, prepared.book)
            cost += limits.CALLS * _dearest_tool(prepared, ask)
        costs.append(cost)
    return max(costs), output_tokens


def _dearest_tool(prepared: Prepared, ask: Ask) -> Decimal:
    names = prepared.plan.toolkits[ask.speaker.agent_key].names
    return max((prepared.book.tool_price(name) for name in names), default=ZERO)


def _notes_read(prepared: Prepared) -> int:
    """Tokens of the notes that the turn is about to make, as its other calls read them."""
    if prepared.summary is None:
        return 0
    mark = prepared.conversation.mark
    frame = as_summary(Notes(""), mark)
    return (
        prepared.summary.output_tokens * _REREAD_FACTOR + bound_count(frame.content) + bound_count(explains_marks(mark))
    )


def _notes_and_title(request: TurnRequest, prepared: Prepared) -> Decimal:
    """The turn's own calls: the summary that is due, and the title of an untitled session."""
    book, alias = prepared.book, prepared.plan.housekeeper.model_alias
    due, total = prepared.summary, ZERO
    if due is not None:
        total += max(most(due.input_tokens, due.output_tokens, price, book) for price in chain_of(book, alias))
    if settings.SESSION_TITLES == "model" and prepared.is_untitled:
        size = input_bound(titling.messages(request.message, _WIDEST * titling.EXCERPT_CHARS))
        costs = [most(size, titling.MAX_OUTPUT_TOKENS, price, book) for price in chain_of(book, alias)]
        total += max(costs, default=ZERO)
    return total
