"""Background turns: opened and held for by the web, run by a worker.

The queued row is the outbox. The message that tells a worker of it may be lost, or come twice: a worker claims the
row before it runs the turn, and the sweeper tells of rows that wait too long.
"""

from __future__ import annotations

from itertools import takewhile
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import connection
from kombu.exceptions import OperationalError as BrokerError

from billing import ledger
from config.core.errors import DomainError
from sessions_app.models import Turn, TurnStep
from sessions_app.turns import rows
from sessions_app.turns.loading import load
from sessions_app.turns.opening import counted_exactly
from sessions_app.turns.outcome import BROKEN, CANCELLED
from sessions_app.turns.preparing import prepare_again
from sessions_app.turns.recovery import end_unstarted
from sessions_app.turns.resuming import chain_of_turn
from sessions_app.turns.turn import OpenedTurn, TurnRequest

log = structlog.get_logger(__name__)
_BATCH = 200


def dispatch(turn_id: UUID) -> bool:
    """Tell a worker of a queued turn. False where the broker is away: then the sweeper will."""
    from sessions_app.tasks import run_turn

    try:
        run_turn.apply_async(args=[str(turn_id)], retry=False, ignore_result=True)
    except (BrokerError, OSError) as error:
        log.warning("turn_not_dispatched", turn_id=str(turn_id), error=str(error))
        return False
    return True


def dispatch_waiting() -> int:
    """Tell of the queued turns that have waited longest, a sweep at least, and keep the holds of all. Idempotent."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT id, created_at < clock_timestamp() - make_interval(secs => %s) FROM turns
                WHERE status = 'queued' ORDER BY created_at""",
            [settings.SWEEP_INTERVAL_S],
        )
        queued = cursor.fetchall()
    if not queued:
        return 0
    ledger.renew_holds(reference_type="turn", reference_ids=[turn_id for turn_id, _ in queued])
    waiting = [turn_id for turn_id, has_waited in queued[:_BATCH] if has_waited]
    # A broker that does not answer takes its time for each.
    return len(list(takewhile(dispatch, waiting)))


def take(turn_id: UUID) -> OpenedTurn | None:
    """Claim a queued turn for this process and prepare it once more. None where somebody else has it, or it has ended.

    What cannot be run any more ends as failed, or as cancelled where its owner asked for that.
    """
    claim = uuid4()
    if not rows.claim_queued(turn_id=turn_id, claim=claim):
        return None
    turn = Turn.objects.get(id=turn_id)
    if turn.cancel_requested_at is not None:
        end_unstarted(turn_id, claim=claim, stopped_by=CANCELLED)
        return None
    request = TurnRequest(
        user_id=turn.user_id,
        session_id=turn.session_id,
        message=turn.user_input,
        max_output_tokens=turn.max_output_tokens,
        model_alias_override=None,
        claim=None,
        request_id=turn.request_id,
        regenerates=turn.regenerates_id,
        continues=turn.continues_id,
    )
    try:
        loaded = load(request, left_out=_chain_ids(turn))
        # As opening did: what does not fit by its bound is not refused before its provider has counted it.
        prepared = counted_exactly(lambda exact: prepare_again(turn, request, loaded, exact=exact))
    except DomainError as refusal:
        log.warning("queued_turn_not_runnable", turn_id=str(turn_id), code=refusal.code)
        end_unstarted(turn_id, claim=claim, stopped_by=refusal.code or BROKEN, detail=refusal.detail)
        return None
    first = TurnStep.objects.get(turn_id=turn_id, step_index=1)
    return OpenedTurn(turn_id, request, prepared, claim, first.id, is_held_for=False)


def _chain_ids(turn: Turn) -> list[UUID]:
    """The turns that this one continues: they are no history to it."""
    if turn.continues_id is None:
        return []
    return [part.id for part in chain_of_turn(turn.continues_id, user_id=turn.user_id)]
