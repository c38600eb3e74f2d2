from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import chain
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from billing.checking import check_everything
from billing.invariants import Finding, check_everything_else, check_wallets
from billing.models import CreditWallet


class Command(BaseCommand):
    help = "Check every invariant of the ledger, hash chain included. Exit 1 with a report when one does not hold."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", metavar="EMAIL", help="check one user's wallet only")

    def handle(self, *args: Any, **options: Any) -> None:
        user_id = None
        if options["user"]:
            user = get_user_model().objects.filter(email__iexact=options["user"]).first()
            if user is None:
                raise CommandError(f"There is no user {options['user']}.")
            user_id = user.pk
        wallets = CreditWallet.objects.filter(**({"user_id": user_id} if user_id else {})).count()
        with tqdm(total=wallets, unit=" wallets", desc="check_ledger", disable=not sys.stderr.isatty()) as bar:
            if user_id is None:
                found = check_everything(report=self._report, progress=bar.update).violations
            else:
                # One user's wallet says nothing about the ledger, so this is not recorded as a check of it.
                found = self._check_user(user_id, bar.update)
        if found:
            self.stdout.write(self.style.ERROR(f"{found} findings in {wallets} wallets: see docs/runbook.md"))
            sys.exit(1)
        self.stdout.write(self.style.SUCCESS(f"{wallets} wallets checked: every invariant holds (L1-L10)"))

    def _check_user(self, user_id: UUID, progress: Callable[[int], Any]) -> int:
        findings = list(chain(check_everything_else(), check_wallets(user_id=user_id, progress=progress)))
        for finding in findings:
            self._report(finding)
        return len(findings)

    def _report(self, finding: Finding) -> None:
        self.stdout.write(self._line(finding))

    def _line(self, finding: Finding) -> str:
        owner = "-"
        if finding.user_id:
            owner = get_user_model().objects.filter(pk=finding.user_id).values_list("email", flat=True).first() or str(
                finding.user_id
            )
        return f"{finding.invariant} wallet {finding.wallet_id or '-'} user {owner}: {finding.detail}"
