"""Who on a list would get a campaign's grant, and who not and why: every row has its verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from django.db.models.functions import Lower

from billing.bulk.emails import CELL_MAX, Row
from billing.bulk.granting import had_it
from users.models import User

# `granted` and `failed` are what comes of `grant`; the others stay as they are.
Verdict = Literal["grant", "had it", "unknown", "inactive", "duplicate", "malformed", "granted", "failed"]
WORDS: dict[Verdict, str] = {
    "grant": "gets it",
    "granted": "granted",
    "failed": "not granted",
    "had it": "has had it from this campaign",
    "unknown": "no such user",
    "inactive": "account switched off",
    "duplicate": "same user as in an earlier line",
    "malformed": "no e-mail address",
}
_BATCH = 1_000


@dataclass(slots=True)
class Judged:
    row: Row
    verdict: Verdict
    user_id: UUID | None = None
    detail: str = ""

    @property
    def words(self) -> str:
        return WORDS[self.verdict] + (f": {self.detail}" if self.detail else "")


def counted(rows: Sequence[Judged]) -> list[dict[str, Any]]:
    """How many there are of each verdict that there is."""
    found = [(verdict, words, sum(row.verdict == verdict for row in rows)) for verdict, words in WORDS.items()]
    return [{"verdict": verdict, "words": words, "count": count} for verdict, words, count in found if count]


def judge(rows: Sequence[Row], *, campaign: str) -> list[Judged]:
    """A verdict on each row, in their order. Reads only; two statements for a thousand rows."""
    seen: dict[UUID, int] = {}
    return [judged for batch in _batches(rows) for judged in _judge(batch, campaign, seen)]


def _judge(rows: Sequence[Row], campaign: str, seen: dict[UUID, int]) -> Iterator[Judged]:
    addresses = {_folded(row.text) for row in rows if _is_address(row.text)}
    # ASCII only, as all stored addresses are: so Python and PostgreSQL fold alike.
    users = {
        email: (pk, is_active)
        for email, pk, is_active in User.objects.alias(folded_email=Lower("email"))
        .filter(folded_email__in=addresses)
        .values_list(Lower("email"), "pk", "is_active")
    }
    had = had_it(campaign, [pk for pk, _ in users.values()])
    for row in rows:
        user_id, is_active = users.get(_folded(row.text), (None, False))
        if not _is_address(row.text):
            yield Judged(row, "malformed")
        elif user_id is None:
            yield Judged(row, "unknown")
        elif user_id in seen:
            yield Judged(row, "duplicate", detail=f"line {seen[user_id]}")
        else:
            seen[user_id] = row.line
            verdict: Verdict = "inactive" if not is_active else "had it" if user_id in had else "grant"
            yield Judged(row, verdict, user_id)


def _is_address(text: str) -> bool:
    return text.isascii() and text.isprintable() and "@" in text[1:-1] and " " not in text and len(text) <= CELL_MAX


def _folded(text: str) -> str:
    return text.lower()


def _batches(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), _BATCH):
        yield rows[start : start + _BATCH]
