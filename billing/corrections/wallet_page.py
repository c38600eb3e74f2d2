"""What the admin's page of a wallet shows of it, in a bounded number of statements."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model

from billing import enforcement
from billing.limits.services import status_of
from billing.models import CreditGrant, CreditHold, CreditTransaction, CreditWallet
from billing.reports import wallet_summary

SHOWN = 25


def wallet_context(wallet: CreditWallet) -> dict[str, Any]:
    """Summary, open grants in the order in which they are burnt, newest entries, open holds, limits."""
    user_id = wallet.user_id
    owner = get_user_model().objects.filter(pk=user_id).first()
    return {
        "owner": owner,
        "summary": wallet_summary(user_id=user_id),
        "enforcement": enforcement.describe(user_id=user_id),
        "entries": CreditTransaction.objects.filter(wallet=wallet).order_by("-seq")[:SHOWN],
        "holds": CreditHold.objects.filter(wallet=wallet, status="open").order_by("-id")[:SHOWN],
        "limits": status_of(user_id) if wallet.has_limits else [],
        "voided": CreditGrant.objects.filter(user_id=user_id, voided_at__isnull=False).count(),
    }
