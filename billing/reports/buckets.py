"""Where buckets begin: at a local hour, day, week (Monday) or month, on days on which clocks change, too.

A bucket is all the time from its beginning to the next one's, so buckets of one query neither overlap nor leave a gap.
Where clocks go back an hour that local time shows twice is two buckets; where they go forward at midnight a day begins
at one. A day that a zone never had is no bucket.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

BUCKETS = ("hour", "day", "week", "month")
BUCKETS_MAX = 10_000
_HOUR = timedelta(hours=1)
# The shortest that there is of each, to tell beforehand that there would be too many.
_SHORTEST = {"hour": _HOUR, "day": 23 * _HOUR, "week": 6 * timedelta(days=1), "month": timedelta(days=27)}


class TooManyBuckets(Exception):
    """More than BUCKETS_MAX."""


def bucket_starts(*, start: datetime, end: datetime, tz: ZoneInfo, bucket: str) -> list[datetime]:
    """The beginnings, in UTC, of the buckets that [start, end) lies in; the first may lie before `start`.

    Raises: TooManyBuckets, and OverflowError at the ends of the calendar.
    """
    if (end - start) / _SHORTEST[bucket] > BUCKETS_MAX:
        raise TooManyBuckets
    starts = _hours(start, tz) if bucket == "hour" else _days(start, tz, bucket)
    return list(takewhile(lambda begin: begin < end or begin <= start, starts))


def _hours(start: datetime, tz: ZoneInfo) -> Iterator[datetime]:
    begin = start.astimezone(UTC)
    # Twice, for clocks that were moved by half an hour in between.
    begin -= _past_the_hour(begin, tz)
    begin -= _past_the_hour(begin, tz)
    while True:
        yield begin
        begin += _HOUR
        # Then, too, an hour goes on until clocks show a full one.
        past = _past_the_hour(begin, tz)
        begin += _HOUR - past if past else timedelta()


def _past_the_hour(time: datetime, tz: ZoneInfo) -> timedelta:
    local = time.astimezone(tz)
    return timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)


def _days(start: datetime, tz: ZoneInfo, bucket: str) -> Iterator[datetime]:
    day = _first_day(start.astimezone(tz).date(), bucket)
    before = None
    while True:
        # Python takes a midnight that clocks skipped for the moment at which they did, and of two the first.
        begin = datetime.combine(day, time(), tz).astimezone(UTC)
        # A day that a zone left out when it went over the date line has no time, and is none.
        if begin != before:
            yield begin
        before = begin
        day = _next_day(day, bucket)


def _first_day(day: date, bucket: str) -> date:
    if bucket == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if bucket == "month" else day


def _next_day(day: date, bucket: str) -> date:
    if bucket == "month":
        return (day + timedelta(days=31)).replace(day=1)
    return day + timedelta(days=7 if bucket == "week" else 1)
