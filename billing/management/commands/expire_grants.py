from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing.expiry import expire_due


class Command(BaseCommand):
    help = "Post the expiry of every lot that is due. Safe to run at any time, also twice at once."

    def handle(self, *args: Any, **options: Any) -> None:
        wallets, entries, busy = expire_due()
        self.stdout.write(f"{entries} lots expired in {wallets} wallets.")
        if busy:
            raise CommandError(f"{busy} wallets were busy and are still due.")
