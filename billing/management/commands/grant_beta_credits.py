from __future__ import annotations

import sys
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from tqdm import tqdm

from billing.bulk.granting import CAMPAIGN_MAX, Campaign, grant_once, had_it
from config.core.errors import DomainError
from config.core.money import ledger_text, parse_credits
from users.models import User

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
        campaign = self._campaign(options)
        outcomes: Counter[str] = Counter()
        failed: list[str] = []
        with tqdm(self._users(options), unit=" users", desc="grant", disable=not sys.stderr.isatty()) as bar:
            for user_id in bar:
                try:
                    outcomes[self._grant(user_id, campaign, dry_run=options["dry_run"])] += 1
                except DomainError as error:
                    failed.append(f"{user_id}: {error.detail}")
        verb = "would be granted" if options["dry_run"] else "granted"
        self.stdout.write(
            f"{outcomes['granted']} users {verb} {ledger_text(campaign.amount)} credits each "
            f"(campaign {campaign.name}), {outcomes['had it']} had them already."
        )
        for line in failed:
            self.stderr.write(line)
        if failed:
            raise CommandError(f"{len(failed)} users could not be granted anything.")

    def _campaign(self, options: dict[str, Any]) -> Campaign:
        amount = parse_credits(str(options["amount"]))
        if amount is None or amount <= 0:
            raise CommandError("--amount: a decimal above 0 with at most 8 places, e.g. 25 or 0.5")
        name = options["campaign"].strip()
        if not 1 <= len(name) <= CAMPAIGN_MAX:
            raise CommandError(f"--campaign: 1 to {CAMPAIGN_MAX} characters")
        days = options["expires_in_days"]
        if days is not None and not 1 <= days <= 36_500:
            raise CommandError("--expires-in-days: between 1 and 36500")
        expires_at = timezone.now() + timedelta(days=days) if days is not None else None
        return Campaign(name, amount, "beta", f"beta credits, campaign {name}", expires_at)

    def _grant(self, user_id: UUID, campaign: Campaign, *, dry_run: bool) -> str:
        """`granted` or `had it`. Raises: ValidationFailed when this wallet cannot take the amount, WalletBusy."""
        if had_it(campaign.name, [user_id]):
            return "had it"
        return "granted" if dry_run else grant_once(campaign, user_id=user_id, initiated_by="grant_beta_credits")

    def _users(self, options: dict[str, Any]) -> list[Any]:
        users = User.objects.filter(is_active=True).order_by("pk")
        if options["all"]:
            return list(users.values_list("pk", flat=True))
        found = []
        for email in options["user"]:
            user = users.filter(pk__in=User.objects.with_address(email)).first()
            if user is None:
                raise CommandError(f"There is no active user {email}. Nothing was granted.")
            found.append(user.pk)
        return list(dict.fromkeys(found))
