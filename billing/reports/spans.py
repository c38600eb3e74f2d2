"""Which part of a span of time is read from the rollup, and which from the events themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.rollup import rolling
from billing.rollup.rolling import month_of, months_up_to, quarter_of, rolled_up_to

Range = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Span:
    """[start, end) as parts that neither overlap nor leave a gap."""

    quarters: Range | None
    events: tuple[Range, ...]

    def months(self) -> Months:
        """The quarters by way of months, where most of a month is in the span."""
        if self.quarters is None:
            return Months([], [], [])
        low, high = self.quarters
        known = months_up_to() or low
        begins: list[datetime] = []
        more: list[Range] = []
        less: list[Range] = []
        month = month_of(low)
        while month < high:
            end = min(next_month(month), max(known, month))
            begin, until = max(low, month), min(high, end)
            if (until - begin) * 2 > end - month:
                begins.append(month)
                less += [(month, begin), (until, end)]
            else:
                more.append((begin, max(begin, until)))
            more.append((max(begin, until), min(high, next_month(month))))
            month = next_month(month)
        return Months(begins, _joined(more), _joined(less))


@dataclass(frozen=True, slots=True)
class Months:
    """Months that have sums of their own, by their beginnings; quarters to be added to them, and to be taken away.

    The newest month's sums may be of its first days alone.
    """

    begins: list[datetime]
    more: list[Range]
    less: list[Range]


def split(start: datetime, end: datetime, *, bounds: Sequence[datetime] = ()) -> Span:
    """Inside a snapshot: what is rolled up is read with it.

    `bounds` are times at which sums must be cut. All zones of today are whole quarters of an hour away from UTC; where
    one was not, a hundred years ago, events tell.
    """
    everything = Span(None, ((start, end),) if start < end else ())
    until = rolled_up_to()
    if until is None or any(start < bound < end and bound != quarter_of(bound) for bound in bounds):
        return everything
    low = quarter_of(start + rolling.QUARTER) if start != quarter_of(start) else start
    high = min(quarter_of(end), until)
    if low >= high:
        return everything
    edges = ((start, low), (high, end))
    return Span((low, high), tuple(part for part in edges if part[0] < part[1]))


def next_month(time: datetime) -> datetime:
    month = month_of(time)
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)


def _joined(ranges: Sequence[Range]) -> list[Range]:
    """Without empty ones, and neighbours as one."""
    joined: list[Range] = []
    for low, high in ranges:
        if low >= high:
            continue
        begin = joined.pop()[0] if joined and joined[-1][1] == low else low
        joined.append((begin, high))
    return joined
