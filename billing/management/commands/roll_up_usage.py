from __future__ import annotations

import sys
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone
from tqdm import tqdm

from billing.rollup.checking import check, rolled_days
from billing.rollup.progress import logged
from billing.rollup.rolling import first_unrolled, forget, roll_up, rolled_up_to


class Command(BaseCommand):
    help = "Roll usage up, as the beat does; with --check hold it against the events. Exit 1 where it differs."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--from",
            dest="since",
            type=_day,
            metavar="YYYY-MM-DD",
            help="first forget what was rolled up since that UTC day, and make it anew of the events",
        )
        parser.add_argument("--check", action="store_true", help="hold every day that is rolled up against its events")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["since"] is not None:
            forget(datetime.combine(options["since"], time.min, UTC))
        self._roll_up()
        self.stdout.write(f"rolled up to {rolled_up_to() or 'nothing: there is no event yet'}")
        if options["check"] and self._check():
            self.stdout.write(self.style.ERROR("see docs/runbook.md"))
            sys.exit(1)

    def _roll_up(self) -> None:
        now = timezone.now()
        start = first_unrolled()
        minutes = round((now - start) / timedelta(minutes=1)) if start else 0
        with self._bar(minutes, "roll up", " min") as bar:
            shown = (lambda done: bar.update(round(done / timedelta(minutes=1)))) if not bar.disable else logged
            roll_up(now, progress=shown)

    def _check(self) -> int:
        """How many days differ."""
        days = rolled_days(last=None)
        differing = 0
        with self._bar(len(days), "check", " days") as bar:
            for day, tables in check(days):
                bar.update()
                if tables:
                    differing += 1
                    with tqdm.external_write_mode(file=sys.stdout):
                        self.stdout.write(f"{day} differs in {', '.join(tables)}")
        self.stdout.write(f"{len(days)} days checked, {differing} differ")
        return differing

    def _bar(self, total: int, what: str, unit: str) -> tqdm[Any]:
        return tqdm(total=total, desc=what, unit=unit, disable=not sys.stderr.isatty())


def _day(text: str) -> date:
    """Raises: ValueError, which argparse turns into its own complaint."""
    return date.fromisoformat(text)
