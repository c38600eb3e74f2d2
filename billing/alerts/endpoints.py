"""Webhook endpoints: made with a secret that is shown once, tested, ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import QuerySet

from billing.alerts.announcing import announce
from billing.alerts.errors import WebhookDisabled
from billing.alerts.sealing import new_secret, seal, shown_part
from billing.alerts.targets import TargetRefused, parse_target
from billing.models import AlertDelivery, WebhookEndpoint
from config.core.errors import NotFound, ValidationFailed
from config.core.ids import uuid7
from config.core.transactions import after_commit

ENDPOINTS_MAX = 10


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """An endpoint with its secret in clear, which exists here and in the answer only."""

    row: WebhookEndpoint
    secret: str


def endpoints_of(user_id: UUID) -> QuerySet[WebhookEndpoint]:
    return WebhookEndpoint.objects.filter(user_id=user_id)


def endpoint_of(user_id: UUID, endpoint_id: UUID) -> WebhookEndpoint:
    """Raises: NotFound."""
    endpoint = endpoints_of(user_id).filter(id=endpoint_id).first()
    if endpoint is None:
        raise NotFound
    return endpoint


def make_endpoint(*, user_id: UUID, url: str, kinds: Sequence[str] = ()) -> NewEndpoint:
    """Make a user's endpoint; no `kinds` means all.

    Locks:       the user's row, so that of many at once no more than ENDPOINTS_MAX are made.
    Raises:      ValidationFailed: a URL that leads nowhere public, or ENDPOINTS_MAX of them.
    """
    check_url(url)
    with transaction.atomic():
        get_user_model().objects.select_for_update(no_key=True).get(pk=user_id)
        if endpoints_of(user_id).count() >= ENDPOINTS_MAX:
            raise ValidationFailed(
                f"At most {ENDPOINTS_MAX} webhooks; delete one first.", field="url", error_code="too_many"
            )
        return store(WebhookEndpoint(user_id=user_id, url=url, kinds=list(dict.fromkeys(kinds))))


def store(endpoint: WebhookEndpoint) -> NewEndpoint:
    """Give a new endpoint its secret and save it."""
    secret = new_secret()
    endpoint.secret_sealed, endpoint.secret_prefix = seal(secret), shown_part(secret)
    endpoint.save(force_insert=True)
    return NewEndpoint(endpoint, secret)


def check_url(url: str) -> None:
    """Raises: ValidationFailed."""
    try:
        parse_target(url)
    except TargetRefused as refusal:
        raise ValidationFailed(str(refusal), field="url", error_code=refusal.code) from None


def delete_endpoint(*, user_id: UUID, endpoint_id: UUID) -> None:
    """Raises: NotFound."""
    if not delete_endpoints(endpoints_of(user_id).filter(id=endpoint_id)):
        raise NotFound


def delete_endpoints(endpoints: QuerySet[WebhookEndpoint]) -> int:
    """Delete endpoints and their deliveries; returns how many. What is being sent in this moment may still arrive.

    Locks:       the endpoints, first and in the order of their ids: a delivery that is being made for one waits, and
                 then finds it gone.
    """
    with transaction.atomic():
        locked = list(endpoints.select_for_update().order_by("id").values_list("id", flat=True))
        WebhookEndpoint.objects.filter(id__in=locked).delete()
        return len(locked)


def ping(*, user_id: UUID, endpoint_id: UUID) -> AlertDelivery:
    """Have a `ping` sent, once.

    Locks:       the endpoint.
    Idempotent:  while one is on its way, that one is returned.
    Raises:      NotFound, WebhookDisabled.
    """
    with transaction.atomic():
        endpoint = endpoints_of(user_id).select_for_update().filter(id=endpoint_id).first()
        if endpoint is None:
            raise NotFound
        if endpoint.disabled_at is not None:
            raise WebhookDisabled
        pings = AlertDelivery.objects.filter(endpoint=endpoint, alert=None, status="pending")
        delivery = pings.first() or AlertDelivery.objects.create(id=uuid7(), endpoint=endpoint, user_id=user_id)
        delivery.refresh_from_db()
        after_commit(announce)
        return delivery


def deliveries_of(user_id: UUID, endpoint_id: UUID) -> QuerySet[AlertDelivery]:
    """Raises: NotFound."""
    return AlertDelivery.objects.filter(endpoint=endpoint_of(user_id, endpoint_id)).select_related("alert")
