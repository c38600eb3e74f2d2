"""Completions whose process died: recorded as lost with it, billed nothing, their holds released."""

from __future__ import annotations

from uuid import UUID, uuid4

import structlog
from django.db import InterfaceError, OperationalError

from pricing.history import book_at
from sessions_app import leases, metrics
from sessions_app.completions.settling import settle_completion
from sessions_app.models import Completion
from sessions_app.turns.meter import lost_with_its_process, metered

log = structlog.get_logger(__name__)
BATCH = 100


def recover_lost_completions() -> int:
    """End every completion whose lease ran out; returns how many. Safe to run on several machines at once."""
    recovered = 0
    while lost := leases.lost("completions", limit=BATCH):
        done = sum(_recover_or_report(id_) for id_ in lost)
        recovered += done
        if done == 0:
            break
    return recovered


def _recover_or_report(id_: UUID) -> bool:
    """One that cannot be settled must not keep the others from it. It stays leased to us and is tried again."""
    try:
        return recover(id_)
    except (OperationalError, InterfaceError):
        raise
    except Exception:  # noqa: BLE001 - whatever is wrong with this one, the next one is not to blame
        log.exception("completion_not_recoverable", completion_id=str(id_))
        return False


def recover(id_: UUID) -> bool:
    """End one. False when it has its lease back, has ended, or somebody else was faster."""
    claim = uuid4()
    if not leases.take_over("completions", id_, claim=claim):
        return False
    row = Completion.objects.get(id=id_)
    book = book_at(row.pricing_version, row.pricing_revision)
    price = book.models[row.model_alias]
    call = metered(
        lost_with_its_process(price),
        price=price,
        weights=book.weights,
        call_index=1,
        purpose="direct",
        request_id=f"{row.id}-1",
        called_at=row.created_at,
    )
    settlement = settle_completion(
        id_=row.id, user_id=row.user_id, claim=claim, book=book, call=call, status=Completion.Status.INTERRUPTED
    )
    if settlement is not None:
        metrics.completion_ended(Completion.Status.INTERRUPTED)
        log.warning("completion_recovered", completion_id=str(id_))
    return settlement is not None
