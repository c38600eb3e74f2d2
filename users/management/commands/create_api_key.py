from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.core.errors import ValidationFailed
from users import api_keys
from users.models import User


class Command(BaseCommand):
    help = "Make an API key for a user. The key is printed this once, alone on standard output."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", metavar="EMAIL")
        parser.add_argument("--name", required=True, help="what the key is for, 1 to 100 characters")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.with_address(options["email"]).first()
        if user is None or not user.is_active:
            raise CommandError(f"There is no active user {options['email']}.")
        name = options["name"].strip()
        if not 1 <= len(name) <= 100 or not name.isprintable():
            raise CommandError("--name: 1 to 100 printable characters")
        try:
            issued = api_keys.issue(user, name=name)
        except ValidationFailed as error:
            raise CommandError(error.detail) from None
        self.stderr.write(f"{issued.row} for {user.email}; it is not shown again.")
        self.stdout.write(issued.key)
