from __future__ import annotations

from decimal import Decimal
from importlib.metadata import version as installed_version
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.core.errors import DomainError
from config.core.money import ledger_text
from pricing.importing import Imported, RateChange, import_rates, rate_label
from pricing.provider_rates import LARGE_FACTOR


class Command(BaseCommand):
    help = (
        "Take over the providers' USD rates from the installed package genai-prices, offline. Charges stay as they are."
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        # Every command of Django's has a `--version` of its own, which tells Django's.
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--version", dest="pricing_version", help="a draft; default: the active version")
        parser.add_argument("--dry-run", action="store_true", help="say what would change, write nothing")
        parser.add_argument(
            "--confirm-large",
            action="store_true",
            help=f"also take over rates of more than ×{LARGE_FACTOR} or less than a third of ours; never to or from 0",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            report = import_rates(
                pricing_version=options["pricing_version"],
                confirm_large=options["confirm_large"],
                dry_run=options["dry_run"],
            )
        except DomainError as refusal:
            raise CommandError(refusal.detail) from None
        self._show(report, dry_run=options["dry_run"])

    def _show(self, report: Imported, *, dry_run: bool) -> None:
        write = self.stdout.write
        for change in report.changed:
            write(f"{'would change' if dry_run else 'changed'}  {_line(change)}")
        for change in report.refused:
            write(self.style.WARNING(f"refused  {_line(change)}: {change.why}"))
        for model_alias, model in report.not_found:
            write(f"not found  {model_alias} ({model})")
        if report.tiered:
            write(f"dearer for long prompts at the provider, taken as for short ones: {', '.join(report.tiered)}")
        write(
            f"{report.pricing_version} revision {report.revision}, genai-prices {installed_version('genai-prices')}:"
            f" {len(report.changed)} rates {'would change' if dry_run else 'changed'}, {len(report.refused)} refused,"
            f" {len(report.unchanged)} aliases as in the list, {len(report.not_found)} not found."
        )


def _line(change: RateChange) -> str:
    return (
        f"{change.model_alias} {rate_label(change.name)}: {_usd(change.old)} → {_usd(change.new)} USD ({change.source})"
    )


def _usd(rate: Decimal | None) -> str:
    return "–" if rate is None else ledger_text(rate)
