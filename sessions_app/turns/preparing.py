"""What a turn will do and what it needs, decided before anything is written: speakers, notes, first call, holds.

Reads the price book and the settings; writes nothing and calls nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

import structlog
from django.conf import settings

from billing import enforcement
from config.core.errors import NotFound
from config.core.money import ZERO
from pricing import cache as price_cache
from pricing.history import book_at
from pricing.price_book import ModelPrice, PriceBook
from pricing.rating import LARGEST_CHARGE, bound
from sessions_app.context import summarising
from sessions_app.context.conversation import Conversation, mark_of
from sessions_app.context.summarising import SummaryDue
from sessions_app.context.window import Count, Reader, Window, bound_count, compose, ensure_it_fits
from sessions_app.errors import TurnNotRegenerable, UnknownModelAlias
from sessions_app.llm.estimate import BOUND_TOKENS_PER_MESSAGE
from sessions_app.llm.providers import configured
from sessions_app.models import Turn
from sessions_app.orchestration import asks
from sessions_app.orchestration.asks import Ask
from sessions_app.tools.toolkits import Toolkit, toolkit_of
from sessions_app.turns.loading import Loaded, LoadedRoom
from sessions_app.turns.planning import Plan, Speaker, Warning, plan_turn
from sessions_app.turns.resuming import chain_of_turn, ensure_resumable, resumed, steps_of
from sessions_app.turns.turn import Prepared, TurnRequest

log = structlog.get_logger(__name__)


def prepare(request: TurnRequest, loaded: Loaded, *, exact: Mapping[str, int]) -> Prepared:
    """Decide everything. `exact`: tokens of texts that a provider has counted; the others are bounded.

    Raises: NotFound, NoRoomAgents, NoValidTaggedAgents, UnknownModelAlias, ContextBudgetExceeded, TurnNotRegenerable.
    """
    if loaded.room is None:
        raise NotFound
    if request.regenerates is not None and loaded.room.last_turn_id != request.regenerates:
        raise TurnNotRegenerable
    book = price_cache.matching(loaded.pricing_version, loaded.pricing_revision)
    return _prepared(request, loaded, plan=_plan(request, loaded.room, book), book=book, exact=exact)


def prepare_resumed(
    request: TurnRequest, loaded: Loaded, chain: Sequence[Turn], *, exact: Mapping[str, int]
) -> Prepared:
    """What a turn does that continues the last of a chain: its remaining speakers as they were, at its pinned price.

    Raises: NotFound, TurnNotResumable, UnknownModelAlias, ContextBudgetExceeded.
    """
    if loaded.room is None:
        raise NotFound
    interrupted = chain[-1]
    ensure_resumable(interrupted, last_turn_id=loaded.room.last_turn_id)
    book = book_at(interrupted.pricing_version, interrupted.pricing_revision)
    plan = replace(resumed(plan_of(interrupted), steps_of(chain)), warnings=())
    return _prepared(request, loaded, plan=plan, book=book, exact=exact)


def prepare_again(turn: Turn, request: TurnRequest, loaded: Loaded, *, exact: Mapping[str, int]) -> Prepared:
    """What opening decided, once more for whoever runs a queued turn: the speakers as they were, at the pinned price.

    Raises: NotFound for a session that was deleted meanwhile, UnknownModelAlias, ContextBudgetExceeded.
    """
    plan = plan_of(turn)
    if turn.continues_id is not None:
        # Not asked whether it may be continued: this is the turn that does.
        plan = resumed(plan, steps_of(chain_of_turn(turn.continues_id, user_id=turn.user_id)))
    book = book_at(turn.pricing_version, turn.pricing_revision)
    prepared = replace(_prepared(request, loaded, plan=plan, book=book, exact=exact), next_turn_index=turn.turn_index)
    if prepared.summary is not None and turn.summary_plan is None:
        # The wallet refused it then. Whatever the wallet holds by now: the first step is journaled as another call.
        return replace(prepared, summary=None, summary_hold=ZERO, summary_fallback="insufficient_credits")
    return prepared


def plan_of(turn: Turn) -> Plan:
    """The plan that a turn was opened with."""
    stand_ins = {name: Speaker.of_json(data) for name, data in (turn.stand_ins or {}).items()}
    speakers = tuple(Speaker.of_json(data) for data in turn.speakers)
    return Plan(
        turn.mode,
        speakers,
        stand_ins.get("housekeeper", speakers[0]),
        stand_ins.get("manager"),
        tuple(Warning(item["code"], item["detail"]) for item in turn.warnings),
    )


def _prepared(
    request: TurnRequest, loaded: Loaded, *, plan: Plan, book: PriceBook, exact: Mapping[str, int]
) -> Prepared:
    room = loaded.room
    if room is None:
        raise NotFound
    conversation = _conversation(request, room)
    plan = replace(plan, toolkits=_toolkits(plan, room, conversation.mark))
    readers = [reader_of(ask, book, request, plan, mark=conversation.mark) for ask in asks.possible(plan)]
    count = counting(exact)
    for reader in readers:
        ensure_it_fits(reader, conversation, count=count)
    first = asks.first(plan)
    window = compose(
        reader_of(first, book, request, plan, mark=conversation.mark), conversation, first.answers, count=count
    )
    summary, fallback = _summary(conversation, readers, plan, book)
    return Prepared(
        room_id=room.room_id,
        plan=plan,
        conversation=conversation,
        book=book,
        window=window,
        first_hold=hold_for(window, price_of(book, first.speaker.model_alias), book),
        summary=summary,
        summary_hold=summary_hold_for(summary, plan, book),
        summary_fallback=fallback,
        enforcement=enforcement.effective(loaded.enforcement_override),
        next_turn_index=room.last_turn_index + 1,
        is_untitled=not room.title,
    )


def _plan(request: TurnRequest, room: LoadedRoom, book: PriceBook) -> Plan:
    agents = room.agents
    if request.model_alias_override is not None:
        agents = tuple(replace(agent, model_alias=request.model_alias_override) for agent in agents)
    plan = plan_turn(
        mode=room.mode,
        agents=agents,
        message=request.message,
        manager_alias=_usable(book, settings.ORCHESTRATOR_MODEL_ALIAS, "ORCHESTRATOR_MODEL_ALIAS"),
        summary_alias=settings.SUMMARY_MODEL_ALIAS,
    )
    for speaker in plan.speakers:
        price_of(book, speaker.model_alias)
    return plan


def _usable(book: PriceBook, model_alias: str, variable: str) -> str:
    """The alias of a setting; empty, so that the first agent's is used, where nobody could call it."""
    if model_alias and find_price(book, model_alias) is None:
        log.warning("model_alias_not_usable", variable=variable, model_alias=model_alias)
        return ""
    return model_alias


def _conversation(request: TurnRequest, room: LoadedRoom) -> Conversation:
    mark = mark_of(request.session_id, secret=settings.SECRET_KEY)
    return Conversation(room.goal, room.summary, room.history, request.message, mark, room.traces)


def _toolkits(plan: Plan, room: LoadedRoom, mark: str) -> dict[str, Toolkit]:
    """What each speaker can use. None of it in a turn without tools, which is most."""
    found = {
        speaker.agent_key: toolkit_of(speaker.tools, room.files, allowed=speaker.file_ids, mark=mark)
        for speaker in plan.speakers
        if speaker.tools
    }
    return {key: toolkit for key, toolkit in found.items() if toolkit is not None}


def _summary(
    conversation: Conversation, readers: Sequence[Reader], plan: Plan, book: PriceBook
) -> tuple[SummaryDue | None, str]:
    """The summary that is due, or why one that is due cannot be made: then calls are pruned instead."""
    older = summarising.too_long(conversation, readers)
    if not older:
        return None, ""
    price = find_price(book, plan.housekeeper.model_alias)
    if price is None:
        return None, "unknown_model_alias"
    writer = summarising.writer_reader(model_alias=price.model_alias, context_tokens=price.context_tokens)
    found = summarising.due(conversation, older, writer)
    return found, "" if found else "context_budget_exceeded"


def find_price(book: PriceBook, model_alias: str) -> ModelPrice | None:
    """The price of an alias that can be called now."""
    price = book.find(model_alias)
    return price if price is not None and price.provider in configured() else None


def chain_of(book: PriceBook, model_alias: str) -> list[ModelPrice]:
    """The alias and those that stand in for it, each for the one before, as far as they can be called."""
    chain: list[ModelPrice] = []
    following: str | None = model_alias
    while following and following not in {price.model_alias for price in chain}:
        price = find_price(book, following)
        if price is None:
            break
        chain.append(price)
        following = price.fallback_alias
    return chain


def price_of(book: PriceBook, model_alias: str) -> ModelPrice:
    """Raises: UnknownModelAlias, before any provider is called; never a default price."""
    price = book.find(model_alias)
    if price is None:
        raise UnknownModelAlias(model_alias)
    if price.provider not in configured():
        raise UnknownModelAlias(model_alias, reason="belongs to a provider that is not configured here")
    return price


def reader_of(ask: Ask, book: PriceBook, request: TurnRequest, plan: Plan, *, mark: str) -> Reader:
    price = price_of(book, ask.speaker.model_alias)
    return ask.reader(
        context_tokens=price.context_tokens,
        max_output_tokens=request.max_output_tokens,
        toolkit=plan.toolkits.get(ask.speaker.agent_key) if ask.purpose == "agent" else None,
        tool_mode=configured()[price.provider].tool_mode,
        mark=mark,
    )


def counting(exact: Mapping[str, int]) -> Count | None:
    """A message's tokens as the provider counts them, its frame at the most that templates take; else the bound."""
    if not exact:
        return None
    return lambda text: exact[text] + BOUND_TOKENS_PER_MESSAGE if text in exact else bound_count(text)


def hold_for(window: Window, price: ModelPrice, book: PriceBook) -> Decimal:
    return most(window.input_tokens, window.output_tokens, price, book)


def summary_hold_for(summary: SummaryDue | None, plan: Plan, book: PriceBook) -> Decimal:
    if summary is None:
        return ZERO
    return most(summary.input_tokens, summary.output_tokens, price_of(book, plan.housekeeper.model_alias), book)


def most(input_tokens: int, output_tokens: int, price: ModelPrice, book: PriceBook) -> Decimal:
    """The most that one call can cost, and never more than the largest charge there is."""
    amount = bound(
        input_tokens=input_tokens, output_tokens=output_tokens, multiplier=price.multiplier, weights=book.weights
    )
    return min(amount, LARGEST_CHARGE)
