"""The desk's report of what should not be, or would not be under `hard`."""

from __future__ import annotations

from typing import Any

from django.urls import reverse

from billing.desk.pieces import Asked, Block, Figure, Link, Report, Shown, Table
from billing.desk.registry import named, register
from billing.desk.shares import amount, count
from billing.reports.undebited import calls_without_debit
from billing.shadow_report import refusals


def exceptions(asked: Asked) -> Shown:
    undebited, newest = calls_without_debit(asked.query(), limit=asked.limit)
    let_through = refusals(
        start=asked.start, end=asked.end, user_id=asked.user_id, model_alias=asked.model_alias, top=asked.limit
    )
    figures = [
        Figure("Calls without their debit", count(undebited), "there should be none", is_bad=undebited > 0),
        Figure("Let through by warn", count(let_through["refused"]), f"of {count(let_through['users'])} users"),
        Figure("Would not have begun", count(let_through["would_not_have_begun"])),
        Figure("Would have ended early", count(let_through["would_have_ended_early"])),
    ]
    return Shown(figures, [_let_through(let_through["top_users"]), _undebited(newest)])


def _let_through(users: list[dict[str, Any]]) -> Block:
    names = named("user", [user["user_id"] for user in users])
    rows = [
        [
            names[user["user_id"]], user["refused"], amount(user["credits_missing"]),
            f"{user['last_at']:%Y-%m-%d %H:%M}",
        ]
        for user in users
    ]  # fmt: skip
    note = "What hard would have refused, or ended early; those whom it would have met most."
    columns = ("User", "#Turns and direct calls", "#Credits missing", "Last (UTC)")
    return Block(Table("let-through", "Let through by warn", columns, rows, note))


def _undebited(events: list[dict[str, Any]]) -> Block:
    rows = [
        [
            f"{event['created_at']:%Y-%m-%d %H:%M:%S}", str(event["user_id"]),
            Link(str(event["event_id"]), reverse(_page_of(event), args=[event["event_id"]])),
            event["model_alias"] or "–", amount(event["credits_charged"]),
        ]
        for event in events
    ]  # fmt: skip
    note = "An event whose 8-place product is above 0 has exactly one debit (L3). Run check_ledger where one is listed."
    columns = ("Time (UTC)", "User", "Event", "Alias", "#Credits")
    return Block(Table("without-debit", "Calls without their debit", columns, rows, note))


def _page_of(event: dict[str, Any]) -> str:
    """Calls of tools have no alias."""
    return f"admin:billing_{'llmcallevent' if event['model_alias'] else 'toolcallevent'}_change"


def register_all() -> None:
    register(Report("exceptions", "Exceptions", exceptions))
