"""Corrections as Django's LogEntry, written with the entry or not at all."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from billing.models import CreditTransaction
from config.core.money import ledger_text
from users.staff_log import record


def logged(make: Callable[[], UUID], *, title: str, actor: str) -> Callable[[], UUID]:
    """`make`, which returns the id of the entry that it posted, and then says on the wallet who had it posted.

    Runs in the transaction of `post_once`.
    """

    def made() -> UUID:
        entry = CreditTransaction.objects.select_related("wallet").get(id=make())
        record(entry.wallet, f"{title}: {described(entry)}; {entry.reason}", actor=actor)
        return entry.id

    return made


def described(entry: CreditTransaction) -> str:
    return f"{entry.get_kind_display()} of {ledger_text(entry.amount)}"
