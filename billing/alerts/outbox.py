"""What is due, who has it, and what came of it. Short transactions; nothing here waits for a network.

A claim is a lease: the row stays `pending` and is due again when the lease ends. So what a process that dies had in
its hands is sent again, by another, under the same id.

Lock order: endpoint → delivery.
"""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Coalesce, Now

from billing.models import AlertDelivery, WebhookEndpoint
from users.staff_log import record

Channel = Literal["webhook", "mail"]
# What comes of an attempt that failed; `lost`: another has taken over since, and has the say.
Outcome = Literal["retry", "failed", "disabled", "lost"]
# Longer than the longest attempt, so that nobody else begins while it lasts.
LEASE_S = 60
# After the first, second, … attempt that failed. After one more, the delivery has failed.
DELAYS_S = (10, 30, 120, 600, 3_600, 4 * 3_600, 12 * 3_600)
JITTER = 0.2
GONE = 410

_DUE = {
    # What has been failing comes last: it may take its whole time again.
    "webhook": """
SELECT d.id FROM alert_deliveries d JOIN webhook_endpoints e ON e.id = d.endpoint_id
 WHERE d.status = 'pending' AND d.next_attempt_at <= statement_timestamp()
   AND e.disabled_at IS NULL AND (e.busy_until IS NULL OR e.busy_until <= statement_timestamp())
 ORDER BY e.failing_since IS NOT NULL, d.next_attempt_at LIMIT 1 FOR UPDATE OF d, e SKIP LOCKED
""",
    "mail": """
SELECT d.id FROM alert_deliveries d
 WHERE d.status = 'pending' AND d.next_attempt_at <= statement_timestamp() AND d.endpoint_id IS NULL
 ORDER BY d.next_attempt_at LIMIT 1 FOR UPDATE SKIP LOCKED
""",
}


def claim(channel: Channel) -> AlertDelivery | None:
    """Take what is due longest, for LEASE_S; None where nothing is. Of a webhook, only where nobody else sends to it.

    Locks:       the delivery and its endpoint (SKIP LOCKED), for this short transaction.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_DUE[channel])
        row = cursor.fetchone()
        if row is None:
            return None
        AlertDelivery.objects.filter(id=row[0]).update(attempts=F("attempts") + 1, next_attempt_at=_in(LEASE_S))
        delivery = AlertDelivery.objects.select_related("alert", "endpoint").get(id=row[0])
        _receiver(delivery).update(busy_until=_in(LEASE_S))
        return delivery


def delivered(delivery: AlertDelivery, *, http_status: int | None = None) -> bool:
    """Record that it arrived. False where the lease was lost: then another has the say."""
    return _record(
        delivery,
        {"status": "delivered", "delivered_at": Now(), "http_status": http_status, "last_error": ""},
        endpoint={"failing_since": None},
    )


def not_delivered(delivery: AlertDelivery, *, error: str, http_status: int | None = None) -> Outcome:
    """Record an attempt that failed; returns what is next. A ping is tried once: somebody is looking on.

    410 Gone switches the endpoint off, and with it all that waits for it.
    """
    is_gone = http_status == GONE
    delay_s = _delay_s(delivery)
    changes: dict[str, Any] = {"status": "failed"}
    if delay_s is not None and not is_gone:
        changes = {"next_attempt_at": _in(delay_s)}
    endpoint: dict[str, Any] = {"failing_since": Coalesce("failing_since", Now())}
    if is_gone:
        endpoint["disabled_at"] = Coalesce("disabled_at", Now())
    if not _record(delivery, {**changes, "http_status": http_status, "last_error": error}, endpoint=endpoint):
        return "lost"
    if is_gone:
        return "disabled"
    return "failed" if delay_s is None else "retry"


def dropped(delivery: AlertDelivery, *, reason: str) -> None:
    """Record that nobody wants it any more."""
    _record(delivery, {"status": "dropped", "last_error": reason}, endpoint={})


def send_again(deliveries: QuerySet[AlertDelivery], *, actor: UUID | str | None) -> int:
    """Make what has ended due once more, from the first delay on, under the same ids; returns how many.

    Not pings, which anybody can repeat, and nothing for an endpoint that is switched off.
    """
    ended = deliveries.exclude(status="pending").filter(alert__isnull=False)
    open_ones = ended.filter(Q(endpoint=None) | Q(endpoint__disabled_at=None))
    chosen = AlertDelivery.objects.filter(id__in=list(open_ones.values_list("id", flat=True))).exclude(status="pending")
    with transaction.atomic():
        rows = list(chosen.select_for_update().order_by("id"))
        AlertDelivery.objects.filter(id__in=[row.id for row in rows]).update(
            status="pending", attempts=0, next_attempt_at=Now(), delivered_at=None, http_status=None, last_error=""
        )
        for row in rows:
            record(row, f"Message {row.id}, {row}: to be sent again.", actor=actor)
    return len(rows)


def _record(delivery: AlertDelivery, changes: dict[str, Any], *, endpoint: dict[str, Any]) -> bool:
    """Only while the lease is ours: it may have ended, and another may be sending."""
    with transaction.atomic():
        receiver = _receiver(delivery)
        # Locked first, for the order.
        list(receiver.select_for_update().values_list("id"))
        lease = {"attempts": delivery.attempts, "next_attempt_at": delivery.next_attempt_at}
        mine = AlertDelivery.objects.filter(id=delivery.id, status="pending", **lease)
        if not mine.update(**changes):
            return False
        receiver.update(busy_until=None, **endpoint)
        if "disabled_at" in endpoint:
            waiting = AlertDelivery.objects.filter(endpoint_id=delivery.endpoint_id, status="pending")
            waiting.update(status="failed", last_error="endpoint_disabled")
        return True


def _receiver(delivery: AlertDelivery) -> QuerySet[WebhookEndpoint]:
    """The endpoint of a webhook; nothing for a mail."""
    endpoints = WebhookEndpoint.objects.all()
    return endpoints.none() if delivery.endpoint_id is None else endpoints.filter(id=delivery.endpoint_id)


def _delay_s(delivery: AlertDelivery) -> float | None:
    """Until the next attempt; None where there is none. Jitter keeps what failed together from coming back together."""
    if delivery.alert_id is None or delivery.attempts > len(DELAYS_S):
        return None
    return DELAYS_S[delivery.attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)


def _in(seconds: float) -> CombinedExpression:
    return Now() + timedelta(seconds=seconds)
