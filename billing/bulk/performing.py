"""Doing what was planned: one wallet a transaction, so that what breaks off in the middle is simply run again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from threading import Lock
from uuid import UUID

from billing.bulk.granting import Campaign, grant_once
from billing.bulk.planning import Judged
from billing.corrections.journal import described
from billing.models import CreditGrant, CreditTransaction
from config.core.errors import DomainError
from config.core.money import ledger_text
from users.models import User
from users.staff_log import record

# So few that a step is a fraction of a second: a page says how far it is, and other work gets at the threads.
STEP_ROWS = 50


class Run:
    """A list that is being granted. `rows`: each with what became of it; those whose turn has not come are `grant`.

    Idempotent on (user, campaign): whoever has it by now is told so. What a wallet refuses is said of its row and stops
    nobody else.
    """

    def __init__(self, campaign: Campaign, rows: Sequence[Judged], *, actor: str) -> None:
        self.campaign, self.rows, self.actor = campaign, list(rows), actor
        self._waiting = [row for row in self.rows if row.verdict == "grant"]
        self.total = len(self._waiting)
        # Who hangs up does so in the middle of a step, and the summary waits for its end.
        self._lock = Lock()

    def count(self, verdict: str) -> int:
        return sum(row.verdict == verdict for row in self.rows)

    @property
    def left(self) -> int:
        return len(self._waiting)

    def step(self) -> None:
        """Grant to the next few. May be called again where it raised: those who have it are not waiting any more."""
        with self._lock:
            few = self._waiting[:STEP_ROWS]
            # Somebody may have been erased since the list was looked at.
            users = User.objects.filter(pk__in=[row.user_id for row in few], is_active=True)
            active = set(users.values_list("pk", flat=True))
            for row in few:
                self._grant(row, is_active=row.user_id in active)
                self._waiting.pop(0)

    def summarise(self) -> None:
        """One line of the log about all of it, finished or not."""
        with self._lock:
            counts = ", ".join(f"{self.count(verdict)} {word}" for verdict, word in _SUMMARY)
        given = f"{ledger_text(self.campaign.amount)} each ({self.campaign.kind})"
        message = f"Bulk grant {self.campaign.name}, {given}: {counts}; {self.campaign.reason}"
        record(CreditGrant, message, actor=self.actor)

    def _grant(self, row: Judged, *, is_active: bool) -> None:
        if row.user_id is None or not is_active:
            row.verdict = "inactive"
            return
        log = partial(_log, self.campaign, self.actor)
        try:
            row.verdict = grant_once(self.campaign, user_id=row.user_id, initiated_by=self.actor, log=log)
        except DomainError as refusal:
            row.verdict, row.detail = "failed", refusal.detail


_SUMMARY = (
    *(
        (verdict, verdict)
        for verdict in ("granted", "had it", "failed", "unknown", "inactive", "duplicate", "malformed")
    ),
    ("grant", "left"),
)


def _log(campaign: Campaign, actor: str, entry_id: UUID) -> None:
    entry = CreditTransaction.objects.select_related("wallet").get(id=entry_id)
    record(entry.wallet, f"Bulk grant {campaign.name}: {described(entry)}; {entry.reason}", actor=actor)
