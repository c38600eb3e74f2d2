"""Ids are UUIDv7, made in Python: they sort by time, and a row's id is known before it is written."""

from __future__ import annotations

import uuid
from datetime import datetime

from uuid_utils.compat import uuid7 as _uuid7


def uuid7() -> uuid.UUID:
    return _uuid7()


def first_uuid7_at(time: datetime) -> uuid.UUID:
    """The smallest UUIDv7 of that millisecond: rows made since then are found by their primary key."""
    milliseconds = int(time.timestamp() * 1000)
    return uuid.UUID(int=max(0, milliseconds) << 80 | 0x7 << 76 | 0x2 << 62)
