from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from billing.expiry import expire_due


class Command(BaseCommand):
    help = "Post the expiry of every lot that is due. Safe to run at any time, also twice at once."

    def handle(self, *args: Any, **options: Any) -> None:
        wallets, entries = expire_due()
        self.stdout.write(f"{entries} lots expired in {wallets} wallets.")
