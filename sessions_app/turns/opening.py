"""Opening a turn: transaction 1. Replay, plan, price, insert, hold; short, and refused as a whole or not at all.

Statements after authentication: one load, one insert (turn, first step, user's message, idempotency key), one wallet
lock, one hold; with BEGIN and COMMIT six. An old price snapshot, a missing wallet or due expiries add to that, rarely.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar
from uuid import UUID, uuid4

from django.db import IntegrityError, OperationalError, transaction

from billing import ledger
from billing.errors import InsufficientCredits, SpendingLimitReached
from billing.ledger import Share
from config.core.errors import WalletBusy
from config.core.idempotency import UNIQUE_CONSTRAINT
from config.core.ids import uuid7
from config.core.money import ZERO
from config.core.transactions import CONTENDED_SQLSTATES, joined_atomic, retrying, sqlstate
from sessions_app.errors import ContextBudgetExceeded, TurnInProgress, TurnNotResumable
from sessions_app.turns import alternatives, opening_rows
from sessions_app.turns.counting import exactly_blocking
from sessions_app.turns.loading import Loaded, load
from sessions_app.turns.preparing import prepare, prepare_resumed
from sessions_app.turns.resuming import chain_of_turn
from sessions_app.turns.turn import OpenedTurn, Prepared, Replayed, TurnRequest

T = TypeVar("T")
# A key conflict, a session conflict, and one more of each while others are at it.
_TRIES = 4
ACTIVE_CONSTRAINTS = ("turn_one_active_per_session", "turn_index_once_per_session")


def open_turn(request: TurnRequest, *, recover: Callable[[UUID], bool]) -> OpenedTurn | Replayed:
    """Admit a turn, or say why not. `recover(turn_id)` ends a turn that lost its lease, so it cannot block its session.

    Locks:       turn (inserted) → wallet.
    Idempotent:  on (caller, key): a replay is looked up before anything else, the balance above all.
    Keeps:       L2, L5.
    Raises:      NotFound, TurnInProgress, InsufficientCredits, SpendingLimitReached, UnknownModelAlias, NoRoomAgents,
                 NoValidTaggedAgents, ContextBudgetExceeded, IdempotencyKeyReused, TurnNotRegenerable, WalletBusy.
                 Nothing is written then, but what had expired of a wallet that refused.
    """
    return counted_exactly(lambda exact: _open_patiently(request, exact, recover))


def _open_patiently(
    request: TurnRequest, exact: Mapping[str, int], recover: Callable[[UUID], bool]
) -> OpenedTurn | Replayed:
    for _ in range(_TRIES):
        try:
            return retrying(lambda: _open(request, exact))
        except IntegrityError as error:
            _explain(error, request, recover)
        except OperationalError as error:
            if sqlstate(error) in CONTENDED_SQLSTATES:
                raise WalletBusy from None
            raise
    raise WalletBusy("This session is busy; please try again.")


def _explain(error: IntegrityError, request: TurnRequest, recover: Callable[[UUID], bool]) -> None:
    """Whether opening may be tried again after this conflict. Raises: TurnInProgress, or the error itself."""
    text = str(error)
    if UNIQUE_CONSTRAINT in text:
        # The same key was committed between our look and our insert: look again, and find it. Asked first, because this
        # text repeats the client's key, which may read like another constraint.
        return
    if "continues" in text:
        raise TurnNotResumable("Another turn continues this one already.") from None
    if not any(name in text for name in ACTIVE_CONSTRAINTS):
        raise error
    active = opening_rows.active_turn(request.session_id)
    if active is None or (active.lease_lost and recover(active.turn_id)):
        return
    raise TurnInProgress(active.turn_id)


class _NotCovered(Exception):
    """A refusal on its way out of the transaction: what could be asked instead is found without the wallet's lock."""

    def __init__(self, refusal: InsufficientCredits, loaded: Loaded, prepared: Prepared) -> None:
        super().__init__()
        self.refusal, self.loaded, self.prepared = refusal, loaded, prepared


def _open(request: TurnRequest, exact: Mapping[str, int]) -> OpenedTurn | Replayed:
    try:
        return _opened(request, exact)
    except _NotCovered as refused:
        # The refusal has undone the expiry whose numbers it says.
        ledger.expire_lots(user_id=request.user_id)
        raise alternatives.offered(refused.refusal, request, refused.loaded, refused.prepared, exact=exact) from None


def _opened(request: TurnRequest, exact: Mapping[str, int]) -> OpenedTurn | Replayed:
    with joined_atomic():
        chain = chain_of_turn(request.continues, user_id=request.user_id) if request.continues else []
        loaded = load(request, left_out=[part.id for part in chain])
        if loaded.replay is not None and request.claim is not None:
            request.claim.check(loaded.replay.fingerprint)
            return Replayed(loaded.replay.turn_id)
        if chain:
            prepared = prepare_resumed(request, loaded, chain, exact=exact)
        else:
            prepared = prepare(request, loaded, exact=exact)
        turn = OpenedTurn(uuid7(), request, prepared, lease_claim=uuid4(), first_step_id=uuid7())
        opening_rows.insert(turn)
        try:
            return _held(turn)
        except InsufficientCredits as refusal:
            raise _NotCovered(refusal, loaded, prepared) from None


def _held(turn: OpenedTurn) -> OpenedTurn:
    """Hold for the first call, and for the summary before it; where the wallet refuses both, for the first call."""
    prepared = turn.prepared
    if prepared.summary is not None:
        try:
            # A savepoint: what the wallet refuses must not take the opened turn with it.
            with transaction.atomic():
                _place(turn, prepared.summary_share, prepared.first_share)
        except (InsufficientCredits, SpendingLimitReached) as refusal:
            given_up = replace(prepared, summary=None, summary_hold=ZERO, summary_fallback=refusal.code)
            turn = replace(turn, prepared=given_up)
            opening_rows.give_up_summary(turn)
        else:
            return turn
    _place(turn, prepared.first_share)
    return turn


def _place(turn: OpenedTurn, *shares: Share) -> None:
    ledger.place_hold(
        user_id=turn.request.user_id,
        reference=turn.reference,
        shares=shares,
        enforcement=turn.prepared.enforcement,
        place=turn.place,
        essential=shares[-1:],
    )


def plan_only(request: TurnRequest) -> Prepared:
    """Everything that opening would decide, without writing.

    For estimates. Raises as `open_turn` does, but for money.
    """
    asked = replace(request, claim=None)
    return counted_exactly(lambda exact: prepare(asked, load(asked), exact=exact))


def counted_exactly(work: Callable[[Mapping[str, int]], T]) -> T:
    """Do the work by bounds; what does not fit by its bound is counted by its provider before it is refused.

    The counting is between two tries, so no transaction is open while the provider is asked.
    """
    exact: dict[str, int] = {}
    while True:
        try:
            return work(exact)
        except ContextBudgetExceeded as refusal:
            counts = exactly_blocking(refusal.model_alias, [text for text in refusal.texts if text not in exact])
            if not counts:
                raise
            exact |= counts
