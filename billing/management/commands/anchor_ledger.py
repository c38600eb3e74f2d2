from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.anchors import make_anchor, utc_text
from billing.heads_file import write_heads
from billing.models import LedgerAnchor


class Command(BaseCommand):
    help = (
        "Print the ledger's newest anchor, made now if the latest midnight (UTC) has none: a hash over all wallets' "
        "entries before it. Keep it where who can write to the database cannot; check_ledger --anchor holds it against."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--heads", metavar="FILE", type=Path, help="also write every wallet's last entry to a file")

    def handle(self, *args: Any, **options: Any) -> None:
        anchor = make_anchor() or LedgerAnchor.objects.order_by("-as_of").first()
        if anchor is None:
            raise CommandError("The latest midnight is not over for everybody yet, and there is no other anchor.")
        if options["heads"]:
            try:
                state = write_heads(options["heads"], anchor.as_of)
            except OSError as error:
                raise CommandError(f"--heads: {error}") from None
            if state.anchor_hash != anchor.anchor_hash:
                raise CommandError("The entries do not come to this anchor any more: run check_ledger.")
        self.stdout.write(f"{utc_text(anchor.as_of)}={anchor.anchor_hash}")
        self.stderr.write(f"{anchor.wallets} wallets, {anchor.entries} entries")
