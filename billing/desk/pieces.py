"""What a report on the desk is made of: figures, charts, tables. How they look is the templates' matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from billing.reports.usage import UsageQuery


@dataclass(frozen=True, slots=True)
class Asked:
    """What the form asks for. `limit`: rows of tables that could be as long as the list of users."""

    start: datetime
    end: datetime
    tz: ZoneInfo
    bucket: str
    user_id: UUID | None = None
    model_alias: str | None = None
    limit: int = 20

    def query(self, *group_by: str) -> UsageQuery:
        return UsageQuery(
            start=self.start, end=self.end, tz=self.tz, bucket=self.bucket, group_by=group_by or ("model_alias",),
            user_id=self.user_id, model_alias=self.model_alias,
        )  # fmt: skip

    def label(self, begin: datetime) -> str:
        """A bucket's beginning as its zone's clocks show it."""
        form = "%Y-%m-%d %H:%M %Z" if self.bucket == "hour" else "%Y-%m" if self.bucket == "month" else "%Y-%m-%d"
        return begin.astimezone(self.tz).strftime(form)


@dataclass(frozen=True, slots=True)
class Link:
    text: str
    url: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    value: str
    note: str = ""
    is_bad: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """`columns` that begin with `#` hold numbers. `name` is what its CSV is asked for by."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""

    def head(self) -> list[tuple[str, bool]]:
        return [(column.lstrip("#"), column.startswith("#")) for column in self.columns]

    def body(self) -> list[list[tuple[Any, bool]]]:
        numbers = [is_number for _, is_number in self.head()]
        return [list(zip(row, numbers, strict=True)) for row in self.rows]


@dataclass(frozen=True, slots=True)
class Series:
    """Bars of one colour; `tone` is a class of the style sheet. Geometry only: what is read off is in the table."""

    name: str
    values: Sequence[Decimal | int]
    tone: str = "main"


@dataclass(frozen=True, slots=True)
class Chart:
    title: str
    labels: Sequence[str]
    series: Sequence[Series]
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a report: charts above the table that says the same in numbers."""

    table: Table
    charts: Sequence[Chart] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """A report that was made."""

    figures: Sequence[Figure] = ()
    blocks: Sequence[Block] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """One page of the desk. What it says is of the user and the alias that are asked for, all of it."""

    name: str
    title: str
    make: Callable[[Asked], Shown]
