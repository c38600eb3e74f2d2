"""Which months stand for their quarters, and what is added to them or taken away."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from billing.reports import spans
from billing.reports.spans import Span


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("low", "high", "known", "begins", "more", "less"),
    [
        ("2026-05-01", "2026-06-01", "2026-06-20", ["2026-05-01"], [], []),
        ("2026-04-30T18:15", "2026-05-31T18:15", "2026-06-20", ["2026-05-01"],
         [("2026-04-30T18:15", "2026-05-01")], [("2026-05-31T18:15", "2026-06-01")]),
        ("2026-05-20", "2026-06-10", "2026-06-20", [], [("2026-05-20", "2026-06-10")], []),
        ("2026-05-10", "2026-06-20T03:30", "2026-06-20", ["2026-05-01", "2026-06-01"],
         [("2026-06-20", "2026-06-20T03:30")], [("2026-05-01", "2026-05-10")]),
        ("2025-12-01", "2026-03-01", "2026-02-01", ["2025-12-01", "2026-01-01"], [("2026-02-01", "2026-03-01")], []),
        ("2026-05-01", "2026-06-01", None, [], [("2026-05-01", "2026-06-01")], []),
    ],
)  # fmt: skip
def test_months_serve_where_most_of_them_is_asked_for(monkeypatch, low, high, known, begins, more, less):
    monkeypatch.setattr(spans, "months_up_to", lambda: known and at(known))
    months = Span((at(low), at(high)), ()).months()
    assert months.begins == [at(begin) for begin in begins]
    assert months.more == [(at(start), at(end)) for start, end in more]
    assert months.less == [(at(start), at(end)) for start, end in less]
