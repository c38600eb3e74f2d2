from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from tqdm import tqdm

from billing import ledger
from billing.models import CreditGrant
from config.core.errors import ValidationFailed
from config.core.money import ledger_text, parse_credits

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
        user_ids = self._users(options)
        granted = skipped = 0
        with tqdm(user_ids, unit=" users", desc="grant", disable=not sys.stderr.isatty()) as bar:
            for user_id in bar:
                if CreditGrant.objects.filter(user_id=user_id, kind="beta", campaign=campaign).exists():
                    skipped += 1
                    continue
                if not options["dry_run"]:
                    try:
                        ledger.grant(
                            user_id=user_id, amount=amount, kind="beta", campaign=campaign, expires_at=expires_at,
                            reason=f"beta credits, campaign {campaign}", initiated_by="grant_beta_credits",
                        )  # fmt: skip
                    except ValidationFailed as error:
                        # Another run of this command was faster for this user.
                        if error.members["errors"][0]["code"] != "unique":
                            raise
                        skipped += 1
                        continue
                granted += 1
        verb = "would be granted" if options["dry_run"] else "granted"
        self.stdout.write(
            f"{granted} users {verb} {ledger_text(amount)} credits each (campaign {campaign}), "
            f"{skipped} had them already."
        )

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
