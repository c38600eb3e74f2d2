from __future__ import annotations

import sys
from itertools import chain
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

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
        found = 0
        with tqdm(total=wallets, unit=" wallets", desc="check_ledger", disable=not sys.stderr.isatty()) as bar:
            for finding in chain(check_everything_else(), check_wallets(user_id=user_id, progress=bar.update)):
                found += 1
                self.stdout.write(self._line(finding))
        if found:
            self.stdout.write(self.style.ERROR(f"{found} findings in {wallets} wallets: see docs/runbook.md"))
            sys.exit(1)
        self.stdout.write(self.style.SUCCESS(f"{wallets} wallets checked: every invariant holds (L1-L10)"))

    def _line(self, finding: Finding) -> str:
        owner = "-"
        if finding.user_id:
            owner = get_user_model().objects.filter(pk=finding.user_id).values_list("email", flat=True).first() or str(
                finding.user_id
            )
        return f"{finding.invariant} wallet {finding.wallet_id or '-'} user {owner}: {finding.detail}"
