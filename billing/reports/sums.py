"""The statements behind usage reports: parts of the rollup and of the events, put together and added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from billing.reports.spans import Range, Span
from billing.rollup.charges import ALL_ALIASES, CHARGES, COLUMNS, COUNTS, DECIMALS, MEASURES, SUMS
from config.core.money import EXACT, ZERO

Row = dict[str, Any]
# Of a group from which all was taken away again nothing is left.
_SOMETHING = "HAVING sum(calls) <> 0 OR sum(credits_charged) <> 0"
NOTHING: Row = {**dict.fromkeys(COUNTS, 0), **dict.fromkeys(DECIMALS, ZERO)}


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one table within a time. `names` says what the table calls a key that it calls otherwise."""

    table: str
    where: str
    values: tuple[Any, ...]
    time: str = "start"
    names: Mapping[str, str] = field(default_factory=dict)
    is_taken_away: bool = False

    def select(self, keys: Mapping[str, str], columns: str, conditions: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """`keys`: a name for each expression, in which `{time}` is the table's own."""
        shown = ", ".join(
            f"{self.names.get(expression, expression).format(time=self.time)} AS {quoted(name)}"
            for name, expression in keys.items()
        )
        if self.is_taken_away:
            columns = ", ".join(f"-{column} AS {column}" for column in columns.split(", "))
        where = [self.where, *(f"{self.names.get(column, column)} = ANY(%s)" for column in conditions)]
        sql = f"SELECT {', '.join(filter(None, [shown, columns]))} FROM {self.table} WHERE {' AND '.join(where)}"  # noqa: S608
        return sql, [*self.values, *map(list, conditions.values())]


def events(ranges: Sequence[Range]) -> list[Part]:
    return [_within(CHARGES, part, "created_at") for part in ranges]


def quarters(span: Span, table: str) -> list[Part]:
    """A span from a table of quarters, and events where it has none."""
    rolled = [_within(table, span.quarters)] if span.quarters else []
    return [*rolled, *events(span.events)]


def months(span: Span, subject: str, *, by_alias: bool) -> list[Part]:
    """A span by one subject from months where they serve, then quarters, then events."""
    begins, edges = months_and_edges(span, subject)
    which = f"model_alias {'<>' if by_alias else '='} '{ALL_ALIASES}'"
    whole = Part(
        "usage_rollup_months", f"start = ANY(%s) AND subject = %s AND {which}",
        (begins, subject), names={} if subject == "user" else {f"{subject}_id": "subject_id"},
    )  # fmt: skip
    return [*([whole] if begins else []), *edges]


def months_and_edges(span: Span, subject: str) -> tuple[list[datetime], list[Part]]:
    """The months that stand for themselves, by their beginnings, and what is to be added to them and taken away.

    Only of somebody: direct calls have no room and no agent.
    """
    months = span.months()
    edges = [
        *[_within("usage_rollups", part) for part in months.more],
        *[replace(_within("usage_rollups", part), is_taken_away=True) for part in months.less],
        *events(span.events),
    ]
    somebody = f"{subject}_id IS NOT NULL"
    return months.begins, [replace(edge, where=f"{edge.where} AND {somebody}") for edge in edges]


def added_up(parts: Sequence[Part], keys: Mapping[str, str], conditions: Mapping[str, Any]) -> list[Row]:
    """The sums for each combination of keys, of which there is at least one name."""
    by = quoted(*keys)
    statement = f"SELECT {by}, {SUMS} FROM {{parts}} GROUP BY {by} {{something}}"  # noqa: S608 - names only
    return fetch(statement, parts, keys, COLUMNS, conditions)


def fetch(
    statement: str, parts: Sequence[Part], keys: Mapping[str, str], columns: str, conditions: Mapping[str, Any]
) -> list[Row]:  # fmt: skip
    """A statement over `{parts}`; its rows as dictionaries. `{something}` leaves groups out that are empty."""
    if not parts:
        return []
    rows, values = union(parts, keys, columns, conditions)
    something = _SOMETHING if any(part.is_taken_away for part in parts) else ""
    with connection.cursor() as cursor:
        cursor.execute(statement.replace("{parts}", f"({rows}) AS parts").replace("{something}", something), values)
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def union(
    parts: Sequence[Part], keys: Mapping[str, str], columns: str, conditions: Mapping[str, Any]
) -> tuple[str, list[Any]]:  # fmt: skip
    """The rows of all parts as one statement, and its values."""
    selects = [part.select(keys, columns, conditions) for part in parts]
    return " UNION ALL ".join(sql for sql, _ in selects), [value for _, values in selects for value in values]


def quoted(*names: str) -> str:
    """`user` is a word of SQL's own."""
    return ", ".join(f'"{name}"' for name in names)


def total(rows: Sequence[Row]) -> Row:
    """The rows' measures added up, exactly."""
    return {name: _sum([row[name] for row in rows]) if rows else NOTHING[name] for name in MEASURES}


def difference(one: Row, other: Row) -> Row:
    return {name: _minus(one[name], other[name]) for name in MEASURES}


def _within(table: str, part: Range, time: str = "start") -> Part:
    low, high = part
    return Part(table, f"{time} >= %s AND {time} < %s", (low, high), time=time)


def _sum(values: Sequence[Any]) -> Any:
    if not isinstance(values[0], Decimal):
        return sum(values)
    added = Decimal(0)
    for value in values:
        added = EXACT.add(added, value)
    return added


def _minus(one: Any, other: Any) -> Any:
    return EXACT.subtract(one, other) if isinstance(one, Decimal) else one - other


def times(rows: Sequence[Row], starts: Sequence[datetime]) -> list[Row]:
    """Rows keyed by `bucket`, the number of their beginning among `starts`, with that beginning in its place."""
    return [
        {"start": starts[row["bucket"] - 1]} | {name: row[name] for name in MEASURES}
        for row in sorted(rows, key=lambda row: row["bucket"])
    ]
