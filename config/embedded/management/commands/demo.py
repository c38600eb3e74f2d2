"""`make demo`: a real two-agent turn on the bundled model, and proof that its bill is right."""

from __future__ import annotations

import secrets
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from config.embedded import seeding
from config.embedded.api_client import ApiClient, sign_in
from config.embedded.demo_turn import show_turn
from config.embedded.errors import EmbeddedError
from config.embedded.paths import current_data_folder
from config.embedded.ports import LOOPBACK, free_port
from config.embedded.terminal import Terminal
from config.embedded.web_process import running_web, wait_until_live


class Command(BaseCommand):
    help = "Run a turn as a user would and check its bill; started by `make demo`."
    requires_system_checks: list[str] = []

    def handle(self, *_args: Any, **_options: Any) -> None:
        signal.signal(signal.SIGTERM, exit_at_once)
        # The model may say what the terminal's encoding cannot.
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
        try:
            run_demo(current_data_folder(), Terminal(sys.stdout))
        except EmbeddedError as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            sys.exit(128 + signal.SIGINT)


def exit_at_once(signum: int, _frame: FrameType | None) -> NoReturn:
    """Through the `with` blocks, which stop the web process."""
    sys.exit(128 + signum)


def run_demo(folder: Path, terminal: Terminal) -> None:
    staff_password, user_password = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    port = free_port()
    base_url = f"http://{LOOPBACK}:{port}"
    log = folder / "web.log"
    seeding.migrate()
    with running_web(port, log=log) as web:
        seeding.ensure_people(staff_password=staff_password, user_password=user_password)
        wait_until_live(base_url, web, log=log)
        with ApiClient(base_url, sign_in(base_url, seeding.STAFF_EMAIL, staff_password)) as admin:
            seeding.price_local_model(admin)
        with ApiClient(base_url, sign_in(base_url, seeding.USER_EMAIL, user_password)) as user:
            session_id = seeding.make_session(user, seeding.ensure_agents(user))
            show_turn(user, session_id, terminal)
    check_ledger(terminal)


def check_ledger(terminal: Terminal) -> None:
    """The invariants of every wallet, from the database itself."""
    terminal.heading("Ledger check")
    try:
        call_command("check_ledger")
    except SystemExit as outcome:
        if outcome.code:
            raise EmbeddedError("The ledger check found violations; they stand above.") from None
