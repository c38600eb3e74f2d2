"""The shadow gate: under `warn`, what `hard` would have refused is written down and let through."""

from __future__ import annotations

from uuid import UUID

from django.db import connection

from billing.errors import InsufficientCredits
from billing.ledger.states import Reference
from config.core.ids import uuid7


def record(refusal: InsufficientCredits, *, user_id: UUID, reference: Reference, stage: str) -> None:
    """Keep the numbers of the moment, once a piece of work: after the first refusal `hard` would have made no call.

    Locks:       none; the caller holds the wallet's.
    Idempotent:  on reference.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO shadow_refusals (id, user_id, reference_type, reference_id, stage, model_alias, balance,
                      held, available, required, created_at)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, clock_timestamp())
               ON CONFLICT (reference_type, reference_id) DO NOTHING""",
            [
                uuid7(), user_id, reference.type, reference.id, stage, refusal.model_alias, refusal.balance,
                refusal.held, refusal.available, refusal.required,
            ],
        )  # fmt: skip
