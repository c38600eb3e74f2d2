"""Who has lost its lease: work in progress whose process has died, or could not be heard for too long.

A row that runs under a lease has `status`, `claim` and `lease_expires_at`; whoever writes it says under which claim.
Times are the database's.
"""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from django.conf import settings
from django.db import connection

Table = Literal["turns", "completions"]
# A third of a lease of grace: a process that the database could not hear for a while renews as soon as it can, and is
# not to be taken for dead in that moment. For the same reason all leases count anew when the database itself restarts.
LEASE_LOST = """status = 'running' AND clock_timestamp() - make_interval(secs => %(grace_s)s)
    > GREATEST(lease_expires_at, pg_postmaster_start_time() + make_interval(secs => %(lease_s)s))"""


def lease_parameters() -> dict[str, float]:
    return {"lease_s": settings.TURN_LEASE_S, "grace_s": settings.TURN_LEASE_S / 3}


def lost(table: Table, *, limit: int) -> list[UUID]:
    """Running rows whose lease ran out, longest ago first."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id FROM {table} WHERE {LEASE_LOST} ORDER BY lease_expires_at LIMIT %(limit)s",  # noqa: S608 - constants only
            {"limit": limit, **lease_parameters()},
        )
        return [row[0] for row in cursor.fetchall()]


def take_over(table: Table, id_: UUID, *, claim: UUID) -> bool:
    """Take what lost its lease. One of several who try wins; whoever ran it is fenced off from here on."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""UPDATE {table} SET claim = %(claim)s,
                       lease_expires_at = clock_timestamp() + make_interval(secs => %(lease_s)s)
                 WHERE id = %(id)s AND {LEASE_LOST}""",  # noqa: S608 - constants only
            {"claim": claim, "id": id_, **lease_parameters()},
        )
        return bool(cursor.rowcount == 1)
