"""What billing knows of a person besides money: gone. Wallet, lots, entries, events and holds stay, and so do alerts.

Those are under an id that names nobody once the account is anonymous, and they are what the books are made of.
"""

from __future__ import annotations

from uuid import UUID

from billing.alerts.preferences import forget_user
from billing.limits import services as limits
from billing.models import SpendingLimit, UserEnforcement


def forget(user_id: UUID) -> None:
    """Webhooks, alert settings, mails on their way, spending limits, enforcement. Idempotent.

    Locks:       the user's endpoints; then, limit by limit, the wallet row.
    """
    forget_user(user_id=user_id)
    for limit in SpendingLimit.objects.filter(user_id=user_id).order_by("id"):
        limits.delete(limit, deleted_by="erase_user")
    UserEnforcement.objects.filter(user_id=user_id).delete()
