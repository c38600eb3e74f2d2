"""Bills, wallets and histories as tables."""

from __future__ import annotations

from typing import Any

from sessions_app.chat.screen import BOLD, DIM, RED, Palette, Screen

BILL_COLUMNS = (
    "#", "agent", "purpose", "model", "fresh", "cache-write", "cached", "output", "OE tokens", "multiplier", "credits",
)  # fmt: skip
TOOL_COLUMNS = ("#", "agent", "tool", "status", "credits")
USAGE_COLUMNS = ("model", "calls", "fresh", "cached", "output", "OE tokens", "credits")
CONTEXT_COLUMNS = ("step", "purpose", "model", "may read", "read", "tokens", "cut", "tokens cut", "notes tokens")


def bill(screen: Screen, shown: dict[str, Any]) -> None:
    screen.line(f"Bill of turn {shown['turn_id']} · {shown['status']}")
    rows = [
        [
            call["call_index"],
            call["agent_name"] or call["agent_key"],
            call["purpose"],
            f"{call['model_alias']} ({call['provider_model']})",
            call["input_tokens_fresh"],
            call["input_tokens_cache_write"],
            call["input_tokens_cached"],
            call["output_tokens"],
            call["oe_tokens"],
            call["multiplier"],
            call["credits_charged"],
        ]
        for call in shown["calls"]
    ]
    screen.table(BILL_COLUMNS, rows, left={"agent", "purpose", "model"})
    for call in shown["calls"]:
        screen.note(f"  {call['call_index']}: {call['formula']}")
    tools = [
        [tool["call_index"], tool["agent_key"], tool["tool_name"], tool["status"], tool["credits_charged"]]
        for tool in shown["tool_calls"]
    ]
    if tools:
        screen.table(TOOL_COLUMNS, tools, left={"agent", "tool", "status"})
    screen.line(
        (f"Charged {shown['credits_charged']} credits", BOLD),
        f" at prices {shown['pricing_version']}, revision {shown['pricing_revision']}",
    )


def wallet(screen: Screen, shown: dict[str, Any]) -> None:
    low: list[str | tuple[str, str]] = [(" LOW", f"{BOLD};{RED}")] if shown["low_balance"] else []
    screen.line((f"Balance {shown['balance']}", BOLD), *low)
    screen.line(f"Held {shown['held']} · available {shown['available']} · enforcement {shown['enforcement']}")
    rows = [
        [
            grant["kind"],
            grant["remaining"],
            grant["amount"],
            str(grant["expires_at"] or "never")[:10],
            grant["priority"],
        ]
        for grant in shown["grants"]
    ]
    if rows:
        screen.table(("grant", "remaining", "of", "expires", "priority"), rows, left={"grant"})


def usage(screen: Screen, shown: dict[str, Any]) -> None:
    screen.line("The last 30 days, by model")
    rows = [_usage_row(row["model_alias"], row) for row in shown["breakdown"]]
    screen.table(USAGE_COLUMNS, [*rows, _usage_row("all", shown["totals"])], left={"model"})


def _usage_row(name: str, row: dict[str, Any]) -> list[Any]:
    counted = ("call_count", "input_tokens_fresh", "input_tokens_cached", "output_tokens", "oe_tokens")
    return [name, *(row[column] for column in counted), row["credits_charged"]]


def agents(screen: Screen, shown: list[dict[str, Any]], models: list[dict[str, Any]]) -> None:
    prices = {model["model_alias"]: model for model in models}
    rows = []
    for agent in shown:
        price = prices.get(agent["model_alias"], {})
        rows.append(
            [
                f"@{agent['agent_key']}",
                agent["name"],
                agent["model_alias"],
                price.get("credits_per_1k_input", "not offered"),
                price.get("credits_per_1k_output", ""),
            ]
        )
    columns = ("agent", "name", "model", "credits per 1k in", "out")
    screen.table(columns, rows, left={"agent", "name", "model"})


def history(screen: Screen, messages: list[dict[str, Any]], palette: Palette) -> None:
    """Oldest first."""
    for message in messages:
        key = message["agent_key"]
        style = palette[key] if key else ""
        screen.line("")
        screen.line(("you" if message["role"] == "user" else message["agent_name"] or key or "", f"{BOLD};{style}"))
        screen.text(message["content"], style)
    screen.end_line()


def context(screen: Screen, shown: dict[str, Any]) -> None:
    screen.line(f"{shown['strategy']}: {shown['explanation']}")
    rows = [
        [
            call.get("step_index", ""),
            call.get("purpose", ""),
            call["model_alias"],
            call["budget_tokens"],
            call["included_messages"],
            call["included_tokens"],
            call["cut_messages"],
            call["cut_tokens"],
            call["notes_tokens"],
        ]
        for call in shown["calls"]
    ]
    screen.table(CONTEXT_COLUMNS, rows, left={"purpose", "model"})
    if not shown["exact"]:
        screen.note("Tokens are upper bounds.")


def estimate(screen: Screen, shown: dict[str, Any]) -> None:
    screen.line(
        (f"At most {shown['credits_max']} credits", BOLD),
        f" · first call at most {shown['credits_first_call']} · available {shown['available']}",
    )
    if shown["would_be_refused"]:
        screen.warning("It would be refused: the wallet does not cover the first call.")
    else:
        screen.line(("Real turns mostly cost less.", DIM))
