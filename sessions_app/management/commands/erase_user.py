from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.core.errors import DomainError
from sessions_app.erasing import WAIT_S, StillRunning, erase
from sessions_app.models import Turn
from users.models import User


class Command(BaseCommand):
    help = "Erase a person: identity, messages and files go, money rows stay. What runs is cancelled, and billed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", metavar="EMAIL")
        parser.add_argument("--noinput", "--no-input", action="store_false", dest="interactive", help="do not ask")
        parser.add_argument("--wait", type=float, default=WAIT_S, metavar="S", help="for what runs to end; default: 60")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.with_address(options["email"]).first()
        if user is None:
            # Not an error: this is also what a second run finds.
            self.stdout.write(f"There is no user {options['email']}: nothing to erase.")
            return
        if options["interactive"] and not self._agreed(user):
            raise CommandError("Nothing was erased.")
        try:
            erased = erase(user.pk, wait_s=options["wait"])
        except StillRunning:
            raise CommandError(
                "Something of this user still runs. The account is closed; run this again to erase it."
            ) from None
        except DomainError as refusal:
            raise CommandError(f"{refusal.detail} The account is closed; run this again to erase it.") from None
        self.stdout.write(
            f"User {user.pk} is erased: {erased.messages} messages, {erased.files} files, the words of {erased.turns} "
            "turns. Wallet, entries and usage events stay, under this id."
        )

    def _agreed(self, user: User) -> bool:
        turns = Turn.objects.filter(user_id=user.pk).count()
        self.stdout.write(
            f"{user.email} ({user.pk}), {turns} turns: account, tokens, keys, rooms, messages and files will be gone "
            "for good."
        )
        return input("Type the e-mail address to go on: ").strip().lower() == user.email.lower()
