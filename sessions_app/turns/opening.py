"""Opening a turn: transaction 1. Replay, plan, price, insert, hold; short, and refused as a whole or not at all.

Statements after authentication: one load, one insert (turn, first step, user's message, idempotency key), one wallet
lock, one hold; with BEGIN and COMMIT six. An old price snapshot, a missing wallet or due expiries add to that, rarely.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from uuid import UUID, uuid4

from django.db import IntegrityError, OperationalError

from billing import enforcement, ledger
from billing.errors import InsufficientCredits, WalletBusy
from config.core.errors import NotFound, ValidationFailed
from config.core.idempotency import UNIQUE_CONSTRAINT
from config.core.ids import uuid7
from config.core.transactions import LOCK_TIMEOUT_SQLSTATE, joined_atomic, retrying, sqlstate
from pricing import cache as price_cache
from pricing.price_book import ModelPrice, PriceBook
from pricing.rating import LARGEST_CHARGE, affordable_output_tokens, bound
from sessions_app.context.window import Utterance, Window, compose
from sessions_app.errors import TurnInProgress, UnknownModelAlias
from sessions_app.llm.providers import configured
from sessions_app.turns import opening_rows
from sessions_app.turns.planning import Speaker, plan_turn
from sessions_app.turns.turn import OpenedTurn, Prepared, Replayed, TurnRequest

# A key conflict, a session conflict, and one more of each while others are at it.
_TRIES = 4
ACTIVE_CONSTRAINTS = ("turn_one_active_per_session", "turn_index_once_per_session")


def open_turn(request: TurnRequest, *, recover: Callable[[UUID], bool]) -> OpenedTurn | Replayed:
    """Admit a turn, or say why not. `recover(turn_id)` ends a turn that lost its lease, so it cannot block its session.

    Locks:       turn (inserted) → wallet.
    Idempotent:  on (caller, key): a replay is looked up before anything else, the balance above all.
    Keeps:       L2, L5.
    Raises:      NotFound, TurnInProgress, InsufficientCredits, UnknownModelAlias, NoRoomAgents, NoValidTaggedAgents,
                 ContextBudgetExceeded, IdempotencyKeyReused, WalletBusy. Nothing is written then.
    """
    for _ in range(_TRIES):
        try:
            return retrying(lambda: _open(request))
        except IntegrityError as error:
            _explain(error, request, recover)
        except OperationalError as error:
            if sqlstate(error) == LOCK_TIMEOUT_SQLSTATE:
                raise WalletBusy from None
            raise
    raise WalletBusy("This session is busy; please try again.")


def _explain(error: IntegrityError, request: TurnRequest, recover: Callable[[UUID], bool]) -> None:
    """Whether opening may be tried again after this conflict. Raises: TurnInProgress, or the error itself."""
    text = str(error)
    if UNIQUE_CONSTRAINT in text:
        # The same key was committed between our look and our insert: look again, and find it.
        return
    if not any(name in text for name in ACTIVE_CONSTRAINTS):
        raise error
    active = opening_rows.active_turn(request.session_id)
    if active is None or (active.lease_lost and recover(active.turn_id)):
        return
    raise TurnInProgress(active.turn_id)


def _open(request: TurnRequest) -> OpenedTurn | Replayed:
    with joined_atomic():
        loaded = opening_rows.load(request)
        if loaded.replay is not None and request.claim is not None:
            request.claim.check(loaded.replay.fingerprint)
            return Replayed(loaded.replay.turn_id)
        prepared = _prepare(request, loaded)
        turn = OpenedTurn(uuid7(), request, prepared, lease_claim=uuid4(), first_step_id=uuid7())
        opening_rows.insert(turn)
        try:
            ledger.place_hold(
                user_id=request.user_id,
                reference=turn.reference,
                amount=prepared.first_hold,
                enforcement=prepared.enforcement,
            )
        except InsufficientCredits as refusal:
            raise _with_alternatives(refusal, prepared) from None
        return turn


def prepare(request: TurnRequest) -> Prepared:
    """Everything that opening would decide, without writing.

    For estimates. Raises as `open_turn` does, but for money.
    """
    return _prepare(request, opening_rows.load(replace(request, claim=None)))


def _prepare(request: TurnRequest, loaded: opening_rows.Loaded) -> Prepared:
    if loaded.room is None:
        raise NotFound
    book = price_cache.matching(loaded.pricing_version, loaded.pricing_revision)
    room = loaded.room
    if room.mode == "orchestrator":
        raise ValidationFailed("Orchestrator rooms cannot run turns yet; choose another mode.", field="mode")
    agents = room.agents
    if request.model_alias_override is not None:
        agents = tuple(replace(agent, model_alias=request.model_alias_override) for agent in agents)
    plan = plan_turn(mode=room.mode, agents=agents, message=request.message)
    for speaker in plan.speakers:
        price_of(book, speaker.model_alias)
    first = plan.speakers[0]
    window = window_for(first, book=book, goal=room.goal, history=room.history, request=request, answers=())
    return Prepared(
        room_id=room.room_id,
        goal=room.goal,
        plan=plan,
        history=room.history,
        book=book,
        window=window,
        first_hold=hold_for(window, price_of(book, first.model_alias), book),
        enforcement=enforcement.effective(loaded.enforcement_override),
        next_turn_index=room.last_turn_index + 1,
    )


def price_of(book: PriceBook, model_alias: str) -> ModelPrice:
    """Raises: UnknownModelAlias, before any provider is called; never a default price."""
    price = book.find(model_alias)
    if price is None:
        raise UnknownModelAlias(model_alias)
    if price.provider not in configured():
        raise UnknownModelAlias(model_alias, reason="belongs to a provider that is not configured here")
    return price


def window_for(
    speaker: Speaker,
    *,
    book: PriceBook,
    goal: str,
    history: tuple[Utterance, ...],
    request: TurnRequest,
    answers: tuple[Utterance, ...],
) -> Window:
    return compose(
        agent_key=speaker.agent_key,
        agent_name=speaker.agent_name,
        role_prompt=speaker.role_prompt,
        goal=goal,
        history=history,
        user_input=request.message,
        answers=answers,
        model_alias=speaker.model_alias,
        context_tokens=price_of(book, speaker.model_alias).context_tokens,
        max_output_tokens=request.max_output_tokens,
    )


def hold_for(window: Window, price: ModelPrice, book: PriceBook) -> Decimal:
    """The most that one call can cost, and never more than the largest charge there is."""
    most = bound(
        input_tokens=window.input_tokens,
        output_tokens=window.output_tokens,
        multiplier=price.multiplier,
        weights=book.weights,
    )
    return min(most, LARGEST_CHARGE)


def _with_alternatives(refusal: InsufficientCredits, prepared: Prepared) -> InsufficientCredits:
    """Which aliases the wallet could pay for this first call, and how long an answer of the asked one may be."""
    book, window = prepared.book, prepared.window
    names = configured()
    fitting = [
        price.model_alias
        for price in book.models.values()
        if price.provider in names
        and window.input_tokens < price.context_tokens
        and hold_for(window, price, book) <= refusal.available
    ]
    asked = price_of(book, prepared.plan.speakers[0].model_alias)
    tokens = affordable_output_tokens(
        credits=refusal.available, input_tokens=window.input_tokens, multiplier=asked.multiplier, weights=book.weights
    )
    affordable = None if tokens is None or tokens < 1 else min(tokens, window.output_tokens)
    return refusal.with_alternatives(models=fitting, max_output_tokens=affordable)
