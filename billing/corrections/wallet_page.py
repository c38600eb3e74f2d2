"""What the admin's page of a wallet shows of it, in a bounded number of statements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model

from billing import enforcement
from billing.limits.services import status_of
from billing.models import CreditGrant, CreditHold, CreditTransaction, CreditWallet
from billing.reference_links import Link, links_to
from billing.reports import wallet_summary

ENTRIES_SHOWN = 25
HOLDS_SHOWN = 100
_SEQ_MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Entries, newest first, each with the pages about the work behind it; and where the next pages begin."""

    rows: list[tuple[CreditTransaction, list[Link]]]
    newer: int | None
    older: int | None


def wallet_context(wallet: CreditWallet, *, user: Any, query: Mapping[str, Any]) -> dict[str, Any]:
    """Summary, open holds, open grants in the order in which they are burnt, a page of entries, limits.

    `user` is who looks; `query` names the page: `before` or `after` the number of an entry.
    """
    user_id = wallet.user_id
    holds = list(CreditHold.objects.filter(wallet=wallet, status="open").order_by("-id")[: HOLDS_SHOWN + 1])
    return {
        "owner": get_user_model().objects.filter(pk=user_id).first(),
        "summary": wallet_summary(user_id=user_id),
        "enforcement": enforcement.describe(user_id=user_id),
        "entries": entry_page(wallet, user=user, query=query),
        "holds": [(hold, links_to(hold.reference_type, hold.reference_id, user=user)) for hold in holds[:HOLDS_SHOWN]],
        "has_more_holds": len(holds) > HOLDS_SHOWN,
        "limits": status_of(user_id) if wallet.has_limits else [],
        "voided": CreditGrant.objects.filter(user_id=user_id, voided_at__isnull=False).count(),
    }


def entry_page(wallet: CreditWallet, *, user: Any, query: Mapping[str, Any]) -> EntryPage:
    """By the number of the entry in its wallet, which has an index and no gap: the ends of the ledger are known."""
    entries = CreditTransaction.objects.filter(wallet=wallet)
    before, after = _seq(query.get("before")), _seq(query.get("after"))
    if after is not None:
        found = list(entries.filter(seq__gt=after).order_by("seq")[:ENTRIES_SHOWN])[::-1]
    else:
        older = entries if before is None else entries.filter(seq__lt=before)
        found = list(older.order_by("-seq")[:ENTRIES_SHOWN])
    is_newest = not found or found[0].seq >= wallet.last_seq
    is_oldest = not found or found[-1].seq <= 1
    return EntryPage(
        rows=[(entry, work_behind(entry, user=user)) for entry in found],
        newer=None if is_newest else found[0].seq,
        older=None if is_oldest else found[-1].seq,
    )


def work_behind(entry: CreditTransaction, *, user: Any) -> list[Link]:
    """The turn of an entry, or its direct completion: for a refund of one, and for each debit of it."""
    return links_to(entry.reference_type, entry.reference_id, user=user)


def _seq(text: Any) -> int | None:
    digits = str(text or "")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= _SEQ_MAX_DIGITS else None
