from __future__ import annotations

import sys
from collections import Counter
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from django.utils import timezone
from tqdm import tqdm

from billing import ledger
from billing.models import CreditGrant
from config.core.errors import ValidationFailed, WalletBusy
from config.core.money import ledger_text, parse_credits
from config.core.transactions import CONTENDED_SQLSTATES, retrying, sqlstate

DEFAULT_CAMPAIGN = "beta"


class Command(BaseCommand):
    help = "Grant beta credits, once per user and campaign, however often it runs."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--amount", required=True, help="credits, a decimal with at most 8 places")
        who = parser.add_mutually_exclusive_group(required=True)
        who.add_argument("--user", metavar="EMAIL", nargs="+", action="extend", help="one or several users")
        who.add_argument("--all", action="store_true", help="every active user")
        parser.add_argument("--campaign", default=DEFAULT_CAMPAIGN, help=f"default: {DEFAULT_CAMPAIGN}")
        parser.add_argument("--expires-in-days", type=int, help="default: never")
        parser.add_argument("--dry-run", action="store_true", help="say what would happen, write nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        fields = self._fields(options)
        outcomes: Counter[str] = Counter()
        failed: list[str] = []
        with tqdm(self._users(options), unit=" users", desc="grant", disable=not sys.stderr.isatty()) as bar:
            for user_id in bar:
                try:
                    outcomes[self._grant(user_id, fields, dry_run=options["dry_run"])] += 1
                except (ValidationFailed, WalletBusy) as error:
                    failed.append(f"{user_id}: {error.detail}")
        verb = "would be granted" if options["dry_run"] else "granted"
        self.stdout.write(
            f"{outcomes['granted']} users {verb} {ledger_text(fields['amount'])} credits each "
            f"(campaign {fields['campaign']}), {outcomes['had it']} had them already."
        )
        for line in failed:
            self.stderr.write(line)
        if failed:
            raise CommandError(f"{len(failed)} users could not be granted anything.")

    def _fields(self, options: dict[str, Any]) -> dict[str, Any]:
        amount = parse_credits(str(options["amount"]))
        if amount is None or amount <= 0:
            raise CommandError("--amount: a decimal above 0 with at most 8 places, e.g. 25 or 0.5")
        campaign = options["campaign"].strip()
        if not 1 <= len(campaign) <= 64:
            raise CommandError("--campaign: 1 to 64 characters")
        days = options["expires_in_days"]
        if days is not None and not 1 <= days <= 36_500:
            raise CommandError("--expires-in-days: between 1 and 36500")
        expires_at = timezone.now() + timedelta(days=days) if days is not None else None
        return {"amount": amount, "campaign": campaign, "expires_at": expires_at}

    def _grant(self, user_id: UUID, fields: dict[str, Any], *, dry_run: bool) -> str:
        """`granted` or `had it`. Raises: ValidationFailed when this wallet cannot take the amount, WalletBusy."""
        if CreditGrant.objects.filter(user_id=user_id, kind="beta", campaign=fields["campaign"]).exists():
            return "had it"
        if dry_run:
            return "granted"
        reason = f"beta credits, campaign {fields['campaign']}"
        give = partial(
            ledger.grant, user_id=user_id, kind="beta", reason=reason, initiated_by="grant_beta_credits", **fields
        )
        try:
            retrying(give)
        except OperationalError as error:
            if sqlstate(error) not in CONTENDED_SQLSTATES:
                raise
            raise WalletBusy from None
        except ValidationFailed as error:
            # Another run of this command may have been faster for this user.
            if error.members["errors"][0]["code"] == "unique":
                return "had it"
            raise
        return "granted"

    def _users(self, options: dict[str, Any]) -> list[Any]:
        users = get_user_model().objects.filter(is_active=True).order_by("pk")
        if options["all"]:
            return list(users.values_list("pk", flat=True))
        found = []
        for email in options["user"]:
            user = users.filter(email__iexact=email).first()
            if user is None:
                raise CommandError(f"There is no active user {email}. Nothing was granted.")
            found.append(user.pk)
        return list(dict.fromkeys(found))
