"""Opening a page again and again: how long it takes, and which statements it asks."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.test import Client

# Who is asking, and in which moment: the same for every page, and of one row.
_OF_EVERY_REQUEST = re.compile(r"django_session|set_config|^(SET|SAVEPOINT|RELEASE|BEGIN)|usage_rollup_state")


@dataclass(frozen=True, slots=True)
class Statement:
    sql: str
    parameters: Any
    ms: float

    @property
    def shape(self) -> str:
        """Without the number of values of a list, which differs from page to page."""
        return re.sub(r"\((?:%s(?:::\w+)?(?:, )?)+\)", "(…)", " ".join(self.sql.split()))


@dataclass(frozen=True, slots=True)
class Timed:
    ms: Sequence[float]
    statements: Sequence[Statement]

    @property
    def median(self) -> float:
        return statistics.median(self.ms)


class _Listening:
    """Takes down each statement that reads."""

    def __init__(self) -> None:
        self.heard: list[Statement] = []

    def __call__(self, execute: Any, sql: str, parameters: Any, many: bool, context: Mapping[str, Any]) -> Any:
        began = time.perf_counter()
        try:
            return execute(sql, parameters, many, context)
        finally:
            text = sql.lstrip()
            if text.startswith(("SELECT", "WITH", "(")) and not _OF_EVERY_REQUEST.search(text):
                self.heard.append(Statement(sql, parameters, (time.perf_counter() - began) * 1000))


def timed(client: Client, path: str, *, times: int) -> Timed:
    """Raises: RuntimeError where the answer is no page."""
    ms: list[float] = []
    for _ in range(times):
        listening = _Listening()
        began = time.perf_counter()
        with connection.execute_wrapper(listening):
            answer = client.get(path)
        ms.append((time.perf_counter() - began) * 1000)
        if answer.status_code != 200:
            raise RuntimeError(f"{answer.status_code} {path}: {answer.content[:500]!r}")
    return Timed(ms, listening.heard)


def plan(statement: Statement) -> list[str]:
    """What PostgreSQL does for it, line by line, with the rows that it really met."""
    with connection.cursor() as cursor:
        cursor.execute("SET work_mem = '64MB'" if "usage_rollup" in statement.sql else "SET work_mem = DEFAULT")
        cursor.execute(f"EXPLAIN (ANALYZE, COSTS OFF, BUFFERS OFF, SUMMARY OFF) {statement.sql}", statement.parameters)
        return [line for (line,) in cursor.fetchall()]
