"""`make seed-big`: ninety days of a large deployment in a database of their own, for measuring and for looking at."""

from __future__ import annotations

import os
import time
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from config.embedded import seeding
from config.embedded.big_history.making import make
from config.embedded.errors import EmbeddedError
from config.embedded.paths import current_data_folder
from pricing import cache


class Command(BaseCommand):
    help = "Fill an empty embedded database with users, turns, events and ledgers of ninety days."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--events", type=_count, default=os.environ.get("SEED_EVENTS") or "10000000")
        parser.add_argument("--users", type=_count, default=os.environ.get("SEED_USERS") or "100000")

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            current_data_folder()
        except EmbeddedError as error:
            raise CommandError(str(error)) from None
        seeding.migrate()
        if get_user_model().objects.exists():
            raise CommandError("This database has users already: it is not filled a second time.")
        cache.reload_pricing_cache()
        began = time.monotonic()
        events = make(events=options["events"], users=options["users"], now=timezone.now())
        self.stdout.write(f"{events} events of {options['users']} users in {time.monotonic() - began:.0f} s")


def _count(text: str) -> int:
    """Raises: ValueError, which argparse turns into its own complaint."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number
