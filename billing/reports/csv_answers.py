"""Reports as CSV: the breakdown with what it leaves out and the totals, or users by bucket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import HttpResponseBase

from billing.csv_export import stream_csv
from billing.reports.serializers import ActiveUsersOut, UsageSummaryOut, UsageSummarySumsOut

CSV_GROUPS_MAX = 100_000


def summary_csv(report: dict[str, Any], group_by: Sequence[str]) -> HttpResponseBase:
    sums = list(UsageSummarySumsOut().get_fields())
    shown = UsageSummaryOut(report, context={"group_by": group_by}).data
    rows: list[Sequence[Any]] = [[row[name] for name in (*group_by, *sums)] for row in shown["breakdown"]]
    blank = [""] * (len(group_by) - 1)
    if shown["others"]:
        rows.append(["others", *blank, *shown["others"].values()])
    rows.append(["total", *blank, *shown["totals"].values()])
    return stream_csv(filename="usage-summary.csv", header=[*group_by, *sums], page=lambda _: (rows, None))


def active_users_csv(report: dict[str, Any]) -> HttpResponseBase:
    shown = ActiveUsersOut(report).data
    rows: list[Sequence[Any]] = [[row["start"], row["active_users"]] for row in shown["buckets"]]
    rows.append(["total", shown["active_users"]])
    return stream_csv(filename="active-users.csv", header=["start", "active_users"], page=lambda _: (rows, None))
