"""`make chaos`: kills every process at random moments under load, and says whether money is right all the same."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.embedded.chaos.run import run
from config.embedded.errors import EmbeddedError
from config.embedded.management.commands.demo import exit_at_once
from config.embedded.paths import current_data_folder
from config.embedded.terminal import Terminal

DEFAULT_KILLS = 20


class Command(BaseCommand):
    help = "Kill web, worker, Redis and PostgreSQL under load and judge the ledger; started by `make chaos`."
    requires_system_checks: list[str] = []

    def handle(self, *_args: Any, **_options: Any) -> None:
        signal.signal(signal.SIGTERM, exit_at_once)
        terminal = Terminal(sys.stdout)
        try:
            kills = number_from("CHAOS_KILLS", DEFAULT_KILLS)
            seed = number_from("CHAOS_SEED", secrets.randbelow(2**32))
            folder = current_data_folder()
            terminal.line(f"CHAOS_SEED={seed} CHAOS_KILLS={kills}")
            is_sound = run(folder, terminal, kills=kills, seed=seed)
        except EmbeddedError as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            sys.exit(128 + signal.SIGINT)
        sys.exit(0 if is_sound else 1)


def number_from(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal():
        raise EmbeddedError(f"{variable}={text} is not a number")
    return int(text)
