"""Who is told of an alert: one row a receiver, before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from billing.models import Alert, AlertDelivery, AlertPreference, WebhookEndpoint
from config.core.ids import uuid7

BATCH = 200


def fan_out() -> int:
    """Turn alerts into deliveries, the oldest first; returns how many alerts. Stops after the last page.

    Locks:       the alerts of a page (SKIP LOCKED) and their endpoints, which are neither deleted nor switched off
                 meanwhile: no delivery is left behind for one that is gone.
    Idempotent:  on (alert, receiver); safe to run twice at once.
    """
    done = 0
    while True:
        with transaction.atomic():
            waiting = Alert.objects.filter(fanned_out_at=None).order_by("created_at")
            alerts = list(waiting.select_for_update(skip_locked=True)[:BATCH])
            if alerts:
                _fan_out(alerts)
        done += len(alerts)
        if len(alerts) < BATCH:
            return done


def _fan_out(alerts: Sequence[Alert]) -> None:
    users = _active_users({alert.user_id for alert in alerts})
    rows = [*_webhooks(alerts, users), *(_mails(alerts, users) if settings.EMAIL_IS_CONFIGURED else [])]
    AlertDelivery.objects.bulk_create(rows, ignore_conflicts=True)
    Alert.objects.filter(id__in=[alert.id for alert in alerts]).update(fanned_out_at=Now())


def _active_users(user_ids: set[UUID]) -> set[UUID]:
    """Whose account is gone or switched off is told of nothing."""
    return set(get_user_model().objects.filter(pk__in=user_ids, is_active=True).values_list("pk", flat=True))


def _webhooks(alerts: Sequence[Alert], users: set[UUID]) -> list[AlertDelivery]:
    endpoints = _locked_endpoints(users)
    return [
        AlertDelivery(id=uuid7(), alert=alert, endpoint_id=endpoint_id, user_id=owner)
        for alert in alerts
        for endpoint_id, owner, kinds in endpoints
        if owner in {None, alert.user_id} and (not kinds or alert.kind in kinds)
    ]


def _locked_endpoints(users: set[UUID]) -> list[tuple[UUID, UUID | None, list[str]]]:
    """In the order of their ids, and shared, so that two pages at once never wait for one another."""
    rows = WebhookEndpoint.objects.filter(Q(user_id=None) | Q(user_id__in=users), disabled_at=None).order_by("id")
    sql, parameters = rows.values_list("id", "user_id", "kinds").query.sql_with_params()
    with connection.cursor() as cursor:
        # Django has no word for FOR SHARE.
        cursor.execute(f"{sql} FOR SHARE", parameters)
        return list(cursor.fetchall())


def _mails(alerts: Sequence[Alert], users: set[UUID]) -> list[AlertDelivery]:
    silent = set(AlertPreference.objects.filter(user_id__in=users, email=False).values_list("user_id", flat=True))
    return [
        AlertDelivery(id=uuid7(), alert=alert, user_id=alert.user_id)
        for alert in alerts
        if alert.user_id in users and alert.user_id not in silent
    ]
