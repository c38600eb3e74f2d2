"""Ids are UUIDv7, made in Python: they sort by time, and a row's id is known before it is written."""

from __future__ import annotations

import uuid

from uuid_utils.compat import uuid7 as _uuid7


def uuid7() -> uuid.UUID:
    return _uuid7()
