from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.dateparse import parse_datetime
from tqdm import tqdm

from billing.anchors import verify_anchors, verify_heads
from billing.check_progress import ShownProgress
from billing.checking import check_everything, check_some
from billing.heads_file import HeadsFile, NoHeadsFile, open_heads
from billing.hold_repair import repair_all_holds
from billing.invariants import Finding, extent
from billing.ledger.repairing import HoldRepair
from billing.models import LedgerCheck
from config.core.money import ledger_text


class Command(BaseCommand):
    help = "Check every invariant of the ledger, hash chain included. Exit 1 with a report when one does not hold."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", metavar="EMAIL", help="check one user's wallet only")
        parser.add_argument("--new", action="store_true", help="only what is new since each wallet's last good check")
        parser.add_argument(
            "--repair-holds",
            action="store_true",
            help="first close holds whose work is over, and set `held` to what open holds come to",
        )
        parser.add_argument(
            "--anchor",
            metavar="TIME=HASH",
            action="append",
            default=[],
            help="an anchor that was kept elsewhere, such as 2026-11-24T00:00:00Z=9f86…; may be repeated",
        )
        parser.add_argument("--heads", metavar="FILE", type=Path, help="a file that anchor_ledger --heads wrote")

    def handle(self, *args: Any, **options: Any) -> None:
        user_id = self._user(options["user"])
        # What cannot be read stops the command before it begins to work.
        also = self._kept_elsewhere(options)
        if options["repair_holds"]:
            self._repair(user_id)
        check = self._check(user_id, only_new=options["new"], also=also)
        scope = "new since the last good check, " if options["new"] else ""
        read = f"{check.wallets_checked} wallets, {scope}{check.entries_checked} entries"
        if check.violations:
            self.stdout.write(self.style.ERROR(f"{check.violations} findings in {read}: see docs/runbook.md"))
            sys.exit(1)
        self.stdout.write(self.style.SUCCESS(f"{read} checked: every invariant holds (L1-L11)"))

    def _check(self, user_id: UUID | None, *, only_new: bool, also: Iterator[Finding]) -> LedgerCheck:
        with ShownProgress(extent(user_id=user_id, only_new=only_new)) as progress:
            if user_id is None and not only_new:
                return check_everything(report=self._report, progress=progress, also=also)
            return check_some(
                user_id=user_id, only_new=only_new, report=self._report, progress=progress, also=also
            )  # fmt: skip

    def _user(self, email: str | None) -> UUID | None:
        if not email:
            return None
        user = get_user_model().objects.with_address(email).first()
        if user is None:
            raise CommandError(f"There is no user {email}.")
        return UUID(str(user.pk))

    def _kept_elsewhere(self, options: dict[str, Any]) -> Iterator[Finding]:
        anchors = [_anchor(text) for text in options["anchor"]]
        file = _heads_file(options["heads"])
        known = verify_heads(file.as_of, file.heads()) if file else iter(())
        return chain(verify_anchors(anchors), known)

    def _repair(self, user_id: UUID | None) -> None:
        for outcome in repair_all_holds(user_id=user_id):
            if isinstance(outcome, HoldRepair):
                self.stdout.write(
                    f"repaired wallet {outcome.wallet_id} user {_email(outcome.user_id)}: held "
                    f"{ledger_text(outcome.held_before)} -> {ledger_text(outcome.held_after)}, "
                    f"{len(outcome.closed)} holds closed"
                )
            else:
                owner, why = outcome
                self.stderr.write(f"wallet of user {_email(owner)} could not be repaired: {why}")

    def _report(self, finding: Finding) -> None:
        owner = _email(finding.user_id) if finding.user_id else "-"
        with tqdm.external_write_mode(file=sys.stdout):
            self.stdout.write(f"{finding.invariant} wallet {finding.wallet_id or '-'} user {owner}: {finding.detail}")


def _email(user_id: UUID) -> str:
    return get_user_model().objects.filter(pk=user_id).values_list("email", flat=True).first() or str(user_id)


def _anchor(text: str) -> tuple[datetime, str]:
    time, _, anchor_hash = text.partition("=")
    try:
        as_of = parse_datetime(time)
    except ValueError:
        as_of = None
    if as_of is None or as_of.tzinfo is None or len(anchor_hash) != 64:
        raise CommandError(f"--anchor {text}: a time with its zone, =, and 64 hexadecimal digits")
    return as_of, anchor_hash.lower()


def _heads_file(path: Path | None) -> HeadsFile | None:
    if path is None:
        return None
    try:
        return open_heads(path)
    except (NoHeadsFile, OSError) as error:
        raise CommandError(f"--heads: {error}") from None
