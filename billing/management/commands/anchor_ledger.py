from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError

from billing.anchors import make_anchor, make_anchor_now, utc_text
from billing.heads_file import write_heads
from billing.models import LedgerAnchor
from config.core.transactions import CONTENDED_SQLSTATES, retrying, sqlstate


def _now() -> LedgerAnchor:
    try:
        return retrying(make_anchor_now)
    except OperationalError as error:
        if sqlstate(error) not in CONTENDED_SQLSTATES:
            raise
        raise CommandError("Somebody holds a wallet for too long; please try again.") from None


class Command(BaseCommand):
    help = (
        "Print the ledger's anchor of the latest midnight (UTC), made if it has none, or of this moment (--now): a "
        "hash over all wallets' entries before it. Keep it where who can write to the database cannot; "
        "check_ledger --anchor holds the ledger against it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--now", action="store_true", help="anchor this moment, not the latest midnight")
        parser.add_argument("--heads", metavar="FILE", type=Path, help="also write every wallet's last entry to a file")

    def handle(self, *args: Any, **options: Any) -> None:
        anchor = _now() if options["now"] else make_anchor() or LedgerAnchor.objects.order_by("-as_of").first()
        if anchor is None:
            raise CommandError(
                "The latest midnight is not over for everybody yet, and there is no other anchor: --now makes one."
            )
        if options["heads"]:
            try:
                state = write_heads(options["heads"], anchor.as_of)
            except OSError as error:
                raise CommandError(f"--heads: {error}") from None
            if state.anchor_hash != anchor.anchor_hash:
                raise CommandError("The entries do not come to this anchor any more: run check_ledger.")
        self.stdout.write(f"{utc_text(anchor.as_of)}={anchor.anchor_hash}")
        self.stderr.write(f"{anchor.wallets} wallets, {anchor.entries} entries")
