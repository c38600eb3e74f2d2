"""Settling a turn: transaction 2. The turn's own rows and all its money, together or not at all.

Four statements: the fence (which also writes steps and answers), the wallet's lock, its lots and hold, one write.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import structlog

from billing import ledger
from billing.ledger import MeteredCall, MeteredTool, Reference, Settlement
from config.core.transactions import joined_atomic, retrying
from pricing.price_book import PriceBook
from sessions_app.turns import ending_rows
from sessions_app.turns.ending_rows import Conclusion
from sessions_app.turns.meter import TurnIds
from sessions_app.turns.rows import StepRow

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """All that settling writes of a turn, whoever settles it: the run itself or the sweeper."""

    ids: TurnIds
    claim: UUID
    book: PriceBook
    conclusion: Conclusion
    steps: list[StepRow]
    calls: list[MeteredCall]
    tools: list[MeteredTool]


def settle_turn(record: TurnRecord) -> Settlement | None:
    """End the turn and bill it. None when the turn is no longer ours: somebody else has settled it, nothing is written.

    Locks:       turn → wallet.
    Idempotent:  fenced by (turn, claim, running): a try after a commit that we did not hear of gives its outcome.
    Keeps:       L1–L3, L6, L9, L10.
    Raises:      OperationalError when the database is away or stays contended; nothing is written then.
    """
    settlement = retrying(lambda: _settle(record))
    if settlement is None:
        log.warning("turn_no_longer_ours", turn_id=str(record.ids.turn_id))
    elif settlement.exceeded_hold:
        log.warning(
            "charge_above_hold",
            turn_id=str(record.ids.turn_id),
            charged=str(settlement.charged),
            held=str(settlement.hold_amount),
        )
    return settlement


def _settle(record: TurnRecord) -> Settlement | None:
    with joined_atomic():
        ours = ending_rows.end(
            turn_id=record.ids.turn_id, claim=record.claim, conclusion=record.conclusion, steps=record.steps
        )
        if not ours and not ending_rows.ended_by(turn_id=record.ids.turn_id, claim=record.claim):
            return None
        # Settled by a try whose answer was lost: then the hold is closed, and this only reads its outcome.
        return ledger.settle(
            user_id=record.ids.user_id,
            reference=Reference("turn", record.ids.turn_id),
            calls=record.calls,
            tools=record.tools,
            pricing_version=record.book.pricing_version,
            pricing_revision=record.book.revision,
        )
