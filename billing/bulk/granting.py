"""A campaign's grant, once a user, however often and by whomever it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

from django.db import OperationalError

from billing import ledger
from billing.models import CreditGrant
from config.core.errors import WalletBusy
from config.core.transactions import CONTENDED_SQLSTATES, joined_atomic, retrying, sqlstate

CAMPAIGN_MAX = 64
Outcome = Literal["granted", "had it"]


@dataclass(frozen=True, slots=True)
class Campaign:
    """What each of its users is given. The name is what it is known by: never empty."""

    name: str
    amount: Decimal
    kind: str
    reason: str
    expires_at: datetime | None = None


def had_it(campaign: str, user_ids: list[UUID]) -> set[UUID]:
    """Who of them has a grant of this campaign, of whatever kind, spent, expired and voided ones included."""
    grants = CreditGrant.objects.filter(user_id__in=user_ids, campaign=campaign)
    return set(grants.values_list("user_id", flat=True))


def grant_once(
    campaign: Campaign, *, user_id: UUID, initiated_by: str, log: Callable[[UUID], None] | None = None
) -> Outcome:
    """Give a user a campaign's credits, unless they had them. `log` gets the id of the entry, in its transaction.

    Units:       credits, > 0, 8 places.
    Locks:       the wallet row; looked for under it, so of two at once one finds the other's grant.
    Idempotent:  on (user, campaign).
    Keeps:       L1, L9, L10.
    Raises:      ValidationFailed where the wallet cannot take the amount, WalletBusy.
    """

    def work() -> Outcome:
        with joined_atomic():
            ledger.get_or_create_wallet(user_id=user_id)
            if had_it(campaign.name, [user_id]):
                return "had it"
            entry_id = ledger.grant(
                user_id=user_id, amount=campaign.amount, kind=campaign.kind, reason=campaign.reason,
                campaign=campaign.name, expires_at=campaign.expires_at, initiated_by=initiated_by,
            )  # fmt: skip
            if log is not None:
                log(entry_id)
            return "granted"

    try:
        return retrying(work)
    except OperationalError as error:
        if sqlstate(error) in CONTENDED_SQLSTATES:
            raise WalletBusy from None
        raise
