"""`manage.py embedded [--name NAME] [--llm] -- COMMAND ...`: run a command with the embedded services beside it."""

from __future__ import annotations

import re
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.embedded.errors import EmbeddedError
from config.embedded.supervisor import supervise


class Command(BaseCommand):
    help = "Run a command with PostgreSQL, Redis and, if wanted, the bundled language model beside it."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", default="dev", help="which set of services, in .data/NAME (default: dev)")
        parser.add_argument("--llm", action="store_true", help="with the bundled language model")
        parser.add_argument("command", nargs="+", metavar="COMMAND", help="what to run, after --")

    def handle(self, *_args: Any, **options: Any) -> None:
        name = options["name"]
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", name) or name == "static":
            raise CommandError(f"--name: expected a short lower-case word, got {name!r}")
        try:
            code = supervise(name=name, with_llm=options["llm"], command=options["command"])
        except EmbeddedError as error:
            raise CommandError(str(error)) from None
        sys.exit(code)
