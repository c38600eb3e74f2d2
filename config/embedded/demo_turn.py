"""One turn of the demo: run it over HTTP, show it, and hold its bill against the wallet and the ledger."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from config.embedded.api_client import ApiClient
from config.embedded.bill_check import disagreements
from config.embedded.errors import EmbeddedError
from config.embedded.event_stream import Event
from config.embedded.terminal import BILL_COLUMNS, Terminal, bill_rows, table

MESSAGE = "Should a small team write down how it makes decisions?"
MAX_OUTPUT_TOKENS = 64


def show_turn(user: ApiClient, session_id: str, terminal: Terminal) -> None:
    """Run a turn, print it and its bill; raises where anything does not add up."""
    before = user.get("/users/me/wallet")
    terminal.heading("You")
    terminal.line(MESSAGE)
    done = stream_turn(user, session_id, terminal)
    after = user.get("/users/me/wallet")
    bill = user.get(f"/turns/{done['turn_id']}/bill")
    debits = turn_debits(user, done["turn_id"])
    show_bill(bill, before, after, terminal)

    problems = disagreements(bill=bill, balance_before=before["balance"], balance_after=after["balance"], debits=debits)
    if done["status"] != "completed":
        problems.append(f"the turn ended as {done['status']}")
    if Decimal(done["balance_after"]) != Decimal(after["balance"]):
        problems.append(f"the stream leaves {done['balance_after']}, the wallet holds {after['balance']}")
    if problems:
        raise EmbeddedError("The bill does not hold:\n- " + "\n- ".join(problems))
    terminal.good_line("Added up again: the bill, the wallet and the ledger agree.")


def stream_turn(user: ApiClient, session_id: str, terminal: Terminal) -> dict[str, Any]:
    """Print the answers as they arrive; the answer is the data of the closing event."""
    body = {"message": MESSAGE, "max_output_tokens": MAX_OUTPUT_TOKENS}
    for event in user.stream(f"/sessions/{session_id}/turns/stream", body):
        show_event(event, terminal)
        if event.name == "done":
            return event.data
        if event.name == "error":
            raise EmbeddedError(f"the turn failed: {event.data['code']}: {event.data['detail']}")
    raise EmbeddedError("the stream ended without `done` and without `error`")


def show_event(event: Event, terminal: Terminal) -> None:
    if event.name == "agent_started":
        terminal.heading(f"{event.data['agent_name']} ({event.data['model_alias']})")
    elif event.name == "chunk":
        terminal.write(event.data["delta"])
    elif event.name == "agent_finished":
        terminal.line()
    elif event.name == "warning":
        terminal.quiet_line(f"warning: {event.data['detail']}")


def turn_debits(user: ApiClient, turn_id: str) -> list[dict[str, Any]]:
    return [entry for entry in user.pages("/users/me/transactions", kind="debit") if entry["reference_id"] == turn_id]


def show_bill(bill: dict[str, Any], before: dict[str, Any], after: dict[str, Any], terminal: Terminal) -> None:
    terminal.heading(f"Bill of the turn, prices {bill['pricing_version']} revision {bill['pricing_revision']}")
    for line in table(BILL_COLUMNS, bill_rows(bill)):
        terminal.line(line)
    weight = {name: f"{Decimal(value).normalize():f}" for name, value in bill["weights"].items()}
    terminal.quiet_line(
        f"OE tokens = {weight['input_fresh']} x fresh + {weight['input_cached']} x cached"
        f" + {weight['output']} x output; credits = OE tokens x multiplier / {Decimal(bill['divisor']).normalize():f}"
    )
    terminal.line(f"Charged:       {bill['credits_charged']} credits")
    terminal.line(f"Wallet before: {before['balance']}")
    terminal.line(f"Wallet after:  {after['balance']}")
