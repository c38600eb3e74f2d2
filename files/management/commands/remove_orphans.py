"""Remove stored objects that no row names: what the nightly job does, and what it would not do by itself."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from files import orphans


class Command(BaseCommand):
    help = "Remove stored objects older than a day that no file names."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--however-many",
            action="store_true",
            help="also where they are so many that the database may be the wrong one",
        )

    def handle(self, *args: Any, however_many: bool, **options: Any) -> None:
        removed = orphans.remove_orphans(however_many=however_many)
        self.stdout.write(f"{removed} objects removed.")
