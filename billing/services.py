"""What billing's views do beyond parsing: one function a request."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.http import HttpResponseBase

from billing import enforcement, reports
from billing.csv_export import stream_csv
from billing.serializers import UsageOut, UsageSumsOut
from config.core.errors import NotFound


def wallet_of_user(user_id: UUID, *, must_exist: bool = False) -> dict[str, Any]:
    """A wallet as its owner sees it. Raises: NotFound where `must_exist` and there is no such user."""
    if must_exist and not get_user_model().objects.filter(pk=user_id).exists():
        raise NotFound
    summary = reports.wallet_summary(user_id=user_id)
    return {
        "balance": summary.balance,
        "held": summary.held,
        "available": summary.available,
        "low_balance": summary.low_balance,
        "enforcement": enforcement.current(user_id=user_id),
        "grants": summary.grants,
        "next_expiry": summary.next_expiry,
        "updated_at": summary.updated_at,
    }


def usage_csv(report: dict[str, Any], group_by: tuple[str, ...]) -> HttpResponseBase:
    """The breakdown as CSV, with a last row of totals."""
    sums = list(UsageSumsOut().get_fields())
    shown = UsageOut(report).data
    rows = [[row.get(name) for name in (*group_by, *sums)] for row in shown["breakdown"]]
    total = ["total", *[""] * (len(group_by) - 1), *[shown["totals"][name] for name in sums]]
    return stream_csv(filename="usage.csv", header=[*group_by, *sums], page=lambda _: ([*rows, total], None))
