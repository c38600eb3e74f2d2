"""Doing what was planned: one wallet a transaction, so that what breaks off in the middle is simply run again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from billing.bulk.granting import Campaign, grant_once
from billing.bulk.planning import Judged
from billing.corrections.journal import described
from billing.models import CreditGrant, CreditTransaction
from config.core.errors import DomainError
from config.core.money import ledger_text
from users.staff_log import record

# Proxies cut answers off after half a minute or so. What is left then is gone on with from the page.
BUDGET_S = 25.0


@dataclass(frozen=True, slots=True)
class Done:
    """Each row with what became of it; rows for which there was no time are still `grant`."""

    rows: list[Judged]

    def count(self, verdict: str) -> int:
        return sum(row.verdict == verdict for row in self.rows)

    @property
    def left(self) -> int:
        return self.count("grant")


def perform(campaign: Campaign, rows: Sequence[Judged], *, actor: str) -> Done:
    """Grant to those whose verdict is `grant`. What a wallet refuses is said of its row and stops nobody else.

    Idempotent:  on (user, campaign); whoever has it by now is told so.
    """
    deadline = time.monotonic() + BUDGET_S
    for row in rows:
        if row.verdict != "grant" or row.user_id is None:
            continue
        if time.monotonic() > deadline:
            break
        try:
            log = partial(_log, campaign, actor)
            row.verdict = grant_once(campaign, user_id=row.user_id, initiated_by=actor, log=log)
        except DomainError as refusal:
            row.verdict, row.detail = "failed", refusal.detail
    done = Done(list(rows))
    _summarise(campaign, done, actor=actor)
    return done


def _log(campaign: Campaign, actor: str, entry_id: UUID) -> None:
    entry = CreditTransaction.objects.select_related("wallet").get(id=entry_id)
    record(entry.wallet, f"Bulk grant {campaign.name}: {described(entry)}; {entry.reason}", actor=actor)


def _summarise(campaign: Campaign, done: Done, *, actor: str) -> None:
    counts = ", ".join(
        f"{done.count(verdict)} {word}"
        for verdict, word in (
            ("granted", "granted"), ("had it", "had it"), ("failed", "failed"), ("unknown", "unknown"),
            ("inactive", "inactive"), ("duplicate", "duplicate"), ("malformed", "malformed"), ("grant", "left"),
        )
    )  # fmt: skip
    given = f"{ledger_text(campaign.amount)} each ({campaign.kind})"
    record(CreditGrant, f"Bulk grant {campaign.name}, {given}: {counts}; {campaign.reason}", actor=actor)
