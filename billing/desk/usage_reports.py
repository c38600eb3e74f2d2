"""The desk's reports of usage: over time, by model, and of users, rooms and agents."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.contrib.auth import get_user_model
from django.urls import reverse

from billing.desk.pieces import Asked, Block, Chart, Figure, Link, Report, Series, Shown, Table
from billing.desk.registry import named, register, register_names
from billing.desk.shares import amount, count, percent, rounded
from billing.reports import sums
from billing.reports.active_users import active_users
from billing.reports.buckets import bucket_starts
from billing.reports.margin import margin_percent, margin_usd
from billing.reports.undebited import calls_without_debit
from billing.reports.usage import by_group, by_time
from config.core.money import usage_text

COLUMNS = (
    "#Calls", "#Credits charged", "#Cost USD", "#Margin USD", "#Calls of unknown cost", "#Estimated calls",
    "#Credits estimated", "#Credits burned", "#OE tokens", "#Fresh input", "#Cached input", "#Output",
)  # fmt: skip


def cells(row: sums.Row) -> list[Any]:
    return [
        row["calls"], amount(row["credits_charged"]), amount(row["provider_cost_usd"]), amount(margin_usd(row)),
        row["calls_without_cost"], row["calls_estimated"], amount(row["credits_estimated"]),
        usage_text(row["credits_burned"]), usage_text(row["oe_tokens"]), row["input_tokens_fresh"],
        row["input_tokens_cached"], row["output_tokens"],
    ]  # fmt: skip


def overview(asked: Asked) -> Shown:
    rows = by_time(asked.query())
    totals = sums.total(rows)
    starts = bucket_starts(start=asked.start, end=asked.end, tz=asked.tz, bucket=asked.bucket)
    filled = {row["start"]: row for row in rows}
    by_bucket = [filled.get(start, sums.NOTHING) for start in starts]
    labels = [asked.label(start) for start in starts]
    table = Table(
        "time", f"By {asked.bucket}", ("From", *COLUMNS),
        [*[[label, *cells(row)] for label, row in zip(labels, by_bucket, strict=True)], ["Total", *cells(totals)]],
    )  # fmt: skip
    charts = [
        Chart("Credits charged", labels, [Series("credits", [row["credits_charged"] for row in by_bucket])], "credits"),
        _cost_chart(labels, by_bucket),
    ]
    figures = [*_money(totals), *_calls(asked, totals)]
    return Shown(figures, [Block(table, charts)])


def _cost_chart(labels: list[str], rows: list[sums.Row]) -> Chart:
    margins = [margin_usd(row) for row in rows]
    cost = Series("USD provider cost", [row["provider_cost_usd"] for row in rows], "cost")
    if any(margin is None for margin in margins):
        return Chart("Provider cost (USD)", labels, [cost], "USD")
    margin = Series("USD margin", [value or Decimal(0) for value in margins])
    return Chart("Provider cost and margin (USD)", labels, [cost, margin])


def _money(totals: sums.Row) -> list[Figure]:
    margin, share = margin_usd(totals), margin_percent(totals)
    note = "CREDIT_USD_VALUE says what a credit is worth; it is not set" if margin is None else f"{share or '–'} %"
    return [
        Figure("Credits charged", rounded(totals["credits_charged"]), "what the ledger's debits come to"),
        Figure(
            "Provider cost, USD", rounded(totals["provider_cost_usd"]),
            f"of {count(totals['calls'] - totals['calls_without_cost'])} calls whose cost is known",
        ),
        Figure("Margin, USD", rounded(margin), note, is_bad=margin is not None and margin < 0),
    ]  # fmt: skip


def _calls(asked: Asked, totals: sums.Row) -> list[Figure]:
    undebited, _ = calls_without_debit(asked.query())
    estimated = percent(totals["calls_estimated"], totals["calls"])
    return [
        Figure("Calls", count(totals["calls"]), f"{count(totals['output_tokens'])} output tokens"),
        Figure(
            "Estimated usage", estimated,
            f"of the calls; {percent(totals['credits_estimated'], totals['credits_charged'])} of the credits",
        ),
        Figure("Calls without their debit", count(undebited), "there should be none", is_bad=undebited > 0),
    ]  # fmt: skip


def activity(asked: Asked) -> Shown:
    found = active_users(asked.query())
    starts = bucket_starts(start=asked.start, end=asked.end, tz=asked.tz, bucket=asked.bucket)
    counted = {row["start"]: row["active_users"] for row in found["buckets"]}
    labels = [asked.label(start) for start in starts]
    values = [counted.get(start, 0) for start in starts]
    rows = [*zip(labels, values, strict=True), ("In all, each once", found["active_users"])]
    table = Table("active-users", f"By {asked.bucket}", ("From", "#Active users"), rows)
    chart = Chart("Active users", labels, [Series("users", values)], "users")
    figure = Figure("Active users", count(found["active_users"]), "who made at least one call, each counted once")
    return Shown([figure], [Block(table, [chart])])


def models(asked: Asked) -> Shown:
    return Shown(
        blocks=[_by(asked, "model_alias", "By alias", "Alias"), _by(asked, "purpose", "By purpose", "Purpose")]
    )


def _by(asked: Asked, group: str, title: str, column: str) -> Block:
    rows, _ = by_group(asked.query(group))
    table = Table(
        group.replace("_", "-"), title, (column, *COLUMNS, "#Credits, share", "#Margin, %"),
        [[row[group], *cells(row), *_of(row, rows)] for row in [*rows, {group: "Total"} | sums.total(rows)]],
    )  # fmt: skip
    chart = Chart(
        f"Credits charged {title.lower()}", [row[group] for row in rows],
        [Series("credits", [row["credits_charged"] for row in rows])], "credits",
    )  # fmt: skip
    return Block(table, [chart])


def _of(row: sums.Row, rows: list[sums.Row]) -> list[str]:
    whole = sums.total(rows)["credits_charged"]
    margin = margin_percent(row)
    return [percent(row["credits_charged"], whole), "–" if margin is None else str(margin)]


def _subjects(subject: str, title: str) -> Report:
    """Who was charged most, each with a bar, and all the others in one line."""

    def make(asked: Asked) -> Shown:
        rows, is_all = by_group(asked.query(subject), limit=asked.limit)
        totals = sums.total(by_time(asked.query()))
        names = named(subject, [row[subject] for row in rows])
        shown = [[names.get(row[subject], Link("direct calls")), *cells(row)] for row in rows]
        if not is_all:
            shown.append([Link("all others"), *cells(sums.difference(totals, sums.total(rows)))])
        shown.append([Link("Total"), *cells(totals)])
        chart = Chart(
            f"Credits charged, the first {len(rows)}", [str(number) for number in range(1, len(rows) + 1)],
            [Series("credits", [row["credits_charged"] for row in rows])], "credits",
        )  # fmt: skip
        table = Table(f"{subject}s", title, (subject.title(), *COLUMNS), shown, "Those charged most come first.")
        return Shown(blocks=[Block(table, [chart])])

    return Report(f"{subject}s", title, make)


def _users(ids: Any) -> dict[Any, Link]:
    users = get_user_model().objects.filter(pk__in=ids).values_list("pk", "email")
    return {pk: Link(email, reverse("admin:users_user_change", args=[pk])) for pk, email in users}


def register_all() -> None:
    register_names("user", _users)
    register(Report("overview", "Overview", overview))
    register(Report("models", "Models and purposes", models))
    for subject, title in (("user", "Users"), ("room", "Rooms"), ("agent", "Agents")):
        register(_subjects(subject, title))
    register(Report("activity", "Active users", activity))
