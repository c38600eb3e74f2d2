"""Reading much in little memory: rows stream out of one statement.

COPY, because it hands over row after row as they come, through any pooler: a cursor on the server would need a session
of its own, and pages need a sort each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from django.db import connection

from config.core.money import ledger_text

Row = tuple[Any, ...]


def rows(sql: str, parameters: Mapping[str, Any]) -> Iterator[Row]:
    """Stream a query's rows, each column as its text or None.

    Until the last row is read, or the generator closed, the connection can do nothing else.
    """
    with (
        connection.cursor() as cursor,
        # Put in here, because Django's cursor for debugging takes no parameters along with a COPY.
        cursor.copy(cursor.mogrify(f"COPY ({sql}) TO STDOUT", parameters)) as copy,
    ):
        yield from copy.rows()


def units(text: str) -> int:
    """Credits as a whole number of the last place: exact, and ten times as fast as decimals.

    Raises: ValueError for NaN, which PostgreSQL's numeric can be.
    """
    return int(text.replace(".", ""))


def credits_text(value: int) -> str:
    """The reverse of `units`."""
    return ledger_text(Decimal(value).scaleb(-8))
