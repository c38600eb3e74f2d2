"""Who changes a price: said to the transaction, recorded by the database's triggers."""

from __future__ import annotations

from django.conf import settings
from django.db import connection


def act_as(actor: str) -> None:
    """Name the actor of this transaction's price changes, and bound how long it waits for another editor's locks.

    Both end with the transaction (`set_config(…, is_local)`), so a pooled connection carries nothing over.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("act_as() names the actor of a transaction, and there is none.")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('tallyroom.actor', %s, true), set_config('lock_timeout', %s, true)",
            [actor, f"{settings.DATABASE_LOCK_TIMEOUT_MS}ms"],
        )
