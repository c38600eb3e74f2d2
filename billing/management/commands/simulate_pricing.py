from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from billing.simulating.history import count_calls
from billing.simulating.runs import record_done
from billing.simulating.services import DEFAULT_DAYS, MOST_DAYS, Simulation, last_days, simulate
from billing.simulating.tally import Sums
from config.core.errors import NotFound
from config.core.money import ledger_text
from pricing.history import book_at
from pricing.services import find_version

_HEAD = ("calls", "as billed", "under version", "difference", "per cent")


class Command(BaseCommand):
    help = (
        "What a price version would have charged for the calls of the last days. Moves and changes nothing;"
        " the result is recorded for the page of the version."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("version", help="the name of a price version, in whatever state")
        parser.add_argument("--days", type=int, default=DEFAULT_DAYS, help=f"1 to {MOST_DAYS}; default: {DEFAULT_DAYS}")

    def handle(self, *args: Any, **options: Any) -> None:
        days = options["days"]
        if not 1 <= days <= MOST_DAYS:
            raise CommandError(f"--days: between 1 and {MOST_DAYS}")
        try:
            version = find_version(options["version"])
        except NotFound as error:
            raise CommandError(f"{options['version']}: {error.detail}") from None
        start, end = last_days(days)
        total = count_calls(start=start, end=end)
        with tqdm(total=total, unit=" calls", desc="simulate", disable=not sys.stderr.isatty()) as bar:
            book = book_at(version.version, version.revision)
            simulation = simulate(book, days=days, start=start, end=end, progress=bar.update)
        self._show(simulation)
        record_done(simulation, asked_by="simulate_pricing")

    def _show(self, simulation: Simulation) -> None:
        self.stdout.write(
            f"{simulation.pricing_version} revision {simulation.revision}, {simulation.days} days:"
            f" {simulation.start:%Y-%m-%d %H:%M} to {simulation.end:%Y-%m-%d %H:%M} UTC"
        )
        rows = [("all", simulation.totals), *simulation.by_alias]
        self._table([("", *_HEAD), *((name, *_cells(sums)) for name, sums in rows)])
        if simulation.top_users:
            self.stdout.write("users who would have paid most more")
            hit = [(user.email or str(user.user_id), *_cells(user.sums)) for user in simulation.top_users]
            self._table([("", *_HEAD), *hit])
        for alias, sums in simulation.without_price:
            billed = f"{sums.calls} calls, {ledger_text(sums.credits_charged)} credits as billed"
            self.stdout.write(f"no price for {alias}: {billed}; in no sum above, each would be refused")
        seen = simulation.coverage
        self.stdout.write(
            f"of {seen.pieces_of_work} turns and direct calls {seen.not_covered} cost more than the wallet held then"
            f" (as billed {seen.not_covered_as_billed}, newly {seen.newly_not_covered}); not judged, because free as"
            f" billed: {seen.not_judged}; with an alias that has no price: {seen.without_price}"
        )

    def _table(self, table: Sequence[tuple[str, ...]]) -> None:
        widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
        for name, *numbers in table:
            cells = [cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True)]
            self.stdout.write("  " + "  ".join([name.ljust(widths[0]), *cells]))


def _cells(sums: Sums) -> tuple[str, ...]:
    return (
        str(sums.calls),
        ledger_text(sums.credits_charged),
        ledger_text(sums.credits_under_version),
        ledger_text(sums.difference),
        "–" if sums.percent is None else f"{sums.percent:z.2f}",
    )
