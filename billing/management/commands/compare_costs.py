from __future__ import annotations

import sys
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.costs import compare_day, compare_missed, newest_closed_day
from billing.models import CostDay, CostFinding
from config.core.money import ledger_text

_HEAD = ("provider", "alias", "calls", "credits", "cost USD", "no cost", "lost", "above hold")


class Command(BaseCommand):
    help = "Compare credits charged with what providers cost, as the beat does nightly. Exit 1 on findings."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--day",
            type=_day,
            metavar="YYYY-MM-DD",
            help="a closed UTC day, judged anew; without it yesterday, and every day of the last month that was missed",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        newest = newest_closed_day()
        day = options["day"]
        if day is None:
            days = sorted({*compare_missed(), newest})
        elif day > newest:
            raise CommandError(f"{day} is not over yet: the newest day that can be compared is {newest}.")
        else:
            compare_day(day)
            days = [day]
        found = sum(self._show(day) for day in days)
        if found:
            self.stdout.write(self.style.ERROR(f"{found} findings: see docs/runbook.md"))
            sys.exit(1)
        self.stdout.write(self.style.SUCCESS("no findings"))

    def _show(self, day: date) -> int:
        """Print what is stored of a day; returns how many findings."""
        rows = list(CostDay.objects.filter(day=day).order_by("provider", "model_alias"))
        if not rows:
            self.stdout.write(f"{day}: no calls")
            return 0
        self.stdout.write(f"{day}")
        table = [_HEAD, *(_cells(row) for row in rows)]
        widths = [max(len(line[column]) for line in table) for column in range(len(_HEAD))]
        for line in table:
            names = [cell.ljust(width) for cell, width in zip(line[:2], widths[:2], strict=True)]
            numbers = [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
            self.stdout.write("  " + "  ".join([*names, *numbers]))
        findings = list(CostFinding.objects.filter(day=day).order_by("kind", "provider", "model_alias"))
        for finding in findings:
            self.stdout.write(f"  {finding.kind} {finding.provider}/{finding.model_alias}: {finding.detail}")
        return len(findings)


def _day(text: str) -> date:
    """Raises: ValueError, which argparse turns into its own complaint."""
    return date.fromisoformat(text)


def _cells(row: CostDay) -> tuple[str, ...]:
    return (
        row.provider,
        row.model_alias,
        str(row.calls),
        ledger_text(row.credits_charged),
        ledger_text(row.provider_cost_usd),
        str(row.calls_without_cost),
        str(row.calls_lost),
        str(row.charges_above_hold),
    )
