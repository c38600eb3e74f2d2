"""What a user has said about alerts, and what is left of it when the user goes."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from billing.alerts.endpoints import delete_endpoints, endpoints_of
from billing.models import AlertDelivery, AlertPreference


def wants_mail(user_id: UUID) -> bool:
    return not AlertPreference.objects.filter(user_id=user_id, email=False).exists()


def set_mail(user_id: UUID, *, is_wanted: bool) -> None:
    """Idempotent. Mails that wait already are dropped when their turn comes."""
    AlertPreference.objects.update_or_create(user_id=user_id, defaults={"email": is_wanted})


def forget_user(*, user_id: UUID) -> None:
    """For who erases a user: endpoints with their deliveries, preferences, and mails on their way are gone.

    The alerts stay: they say what happened to a wallet, under an id that names nobody any more.

    Locks:       the user's endpoints.
    Idempotent:  yes.
    """
    with transaction.atomic():
        delete_endpoints(endpoints_of(user_id))
        AlertDelivery.objects.filter(user_id=user_id, endpoint=None).delete()
        AlertPreference.objects.filter(user_id=user_id).delete()
