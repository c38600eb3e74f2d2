"""What the cost desk has of turns: how those ended that did not complete, and what rooms and agents are called."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db import connection
from django.urls import reverse

from billing.desk.pieces import Asked, Block, Chart, Figure, Link, Report, Series, Shown, Table
from billing.desk.registry import named, register, register_names
from billing.desk.shares import count
from billing.reports.buckets import bucket_starts
from sessions_app.models import Agent, Room, Turn

# By when they ended, as their calls are. An index holds these few, so completed turns are never read.
STATUSES = (Turn.Status.FAILED, Turn.Status.INTERRUPTED, Turn.Status.CANCELLED, Turn.Status.PARTIAL)
_WITHIN = "finished_at >= %s AND finished_at < %s AND status IN ('failed', 'interrupted', 'cancelled', 'partial')"
_OF_USER = "user_id = %s"
_OF_ALIAS = "EXISTS (SELECT 1 FROM llm_call_events e WHERE e.turn_id = turns.id AND e.model_alias = %s)"
_BY_TIME = """
SELECT width_bucket(finished_at, %s::timestamptz[]), status, count(*) FROM turns WHERE {where} GROUP BY 1, 2"""
_NEWEST = """
SELECT id FROM turns WHERE {where} AND status IN ('failed', 'interrupted') ORDER BY finished_at DESC LIMIT %s"""


def turns(asked: Asked) -> Shown:
    starts = bucket_starts(start=asked.start, end=asked.end, tz=asked.tz, bucket=asked.bucket)
    counts = _counts(asked, starts)
    labels = [asked.label(start) for start in starts]
    columns = {
        status: [counts.get((number, status), 0) for number in range(1, len(starts) + 1)] for status in STATUSES
    }  # fmt: skip
    rows = [[label, *cells] for label, *cells in zip(labels, *columns.values(), strict=True)]
    rows.append(["Total", *(sum(values) for values in columns.values())])
    table = Table("turns", f"By {asked.bucket}", ("From", *(f"#{status.label}" for status in STATUSES)), rows)
    chart = Chart(
        "Turns that failed or were interrupted", labels,
        [
            Series("failed", columns[Turn.Status.FAILED], "bad"),
            Series("interrupted", columns[Turn.Status.INTERRUPTED], "cost"),
        ],
    )  # fmt: skip
    figures = [Figure(f"{status.label} turns", count(sum(columns[status]))) for status in STATUSES]
    note = f"Turns in which {asked.model_alias} was called" if asked.model_alias else ""
    return Shown(figures, [Block(table, [chart]), Block(_newest(asked))], note)


def _counts(asked: Asked, starts: list[Any]) -> dict[tuple[int, str], int]:
    with connection.cursor() as cursor:
        where, values = _where(asked)
        cursor.execute(_BY_TIME.format(where=where), [starts, *values])
        return {(bucket, status): number for bucket, status, number in cursor.fetchall()}


def _where(asked: Asked) -> tuple[str, list[Any]]:
    """Those that ended in the time that is asked for, of its user, and with a call of its alias."""
    found: list[tuple[str, list[Any]]] = [(_WITHIN, [asked.start, asked.end])]
    if asked.user_id is not None:
        found.append((_OF_USER, [asked.user_id]))
    if asked.model_alias is not None:
        found.append((_OF_ALIAS, [asked.model_alias]))
    return " AND ".join(sql for sql, _ in found), [value for _, values in found for value in values]


def _newest(asked: Asked) -> Table:
    where, values = _where(asked)
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST.format(where=where), [*values, asked.limit])
        ids = [id_ for (id_,) in cursor.fetchall()]
    found = list(Turn.objects.filter(pk__in=ids).order_by("-finished_at"))
    users = named("user", [turn.user_id for turn in found])
    rows = [
        [
            f"{turn.finished_at.astimezone(asked.tz):%Y-%m-%d %H:%M:%S}", users[turn.user_id],
            Link(str(turn.pk), reverse("admin:sessions_app_turn_change", args=[turn.pk])), turn.status,
            turn.error_code or "–",
        ]
        for turn in found
        if turn.finished_at is not None
    ]  # fmt: skip
    columns = (f"Ended ({asked.tz.key})", "User", "Turn", "Status", "Error code")
    return Table("newest-turns", "The newest that failed or were interrupted", columns, rows)


def _names(model: type[Agent] | type[Room], page: str) -> Any:
    def names(ids: Collection[UUID]) -> dict[UUID, Link]:
        found = model.objects.filter(pk__in=ids).select_related("user")
        return {row.pk: Link(f"{row.name} ({row.user.email})", reverse(page, args=[row.pk])) for row in found}

    return names


def register_all() -> None:
    register_names("room", _names(Room, "admin:sessions_app_room_change"))
    register_names("agent", _names(Agent, "admin:sessions_app_agent_change"))
    register(Report("turns", "Turns that ended badly", turns))
