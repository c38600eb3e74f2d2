"""Deliver what is due: some threads, each of which claims one delivery, sends it, records it, and takes the next.

An endpoint that hangs holds up one thread for ten seconds, and no other delivery but its own: one at a time goes to
each endpoint, those that have been failing come last, and mails have a thread of their own.
"""

from __future__ import annotations

import http.client
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import structlog
from django.contrib.auth import get_user_model
from django.db import connection
from django.utils import timezone

from billing.alerts import metrics, outbox, sending
from billing.alerts.mails import address_of, send_mail
from billing.alerts.messages import body_of, signed_headers
from billing.alerts.sealing import SecretUnreadable, unseal
from billing.alerts.targets import TargetRefused
from billing.models import AlertDelivery, WebhookEndpoint
from config.core.transactions import DATABASE_ERRORS

log = structlog.get_logger(__name__)
WEBHOOK_SENDERS = 8
# Nothing new is begun after this; the beat comes again soon.
WORK_S = 25


def deliver_due() -> int:
    """Send what is due, for WORK_S or until nothing is; returns the number of attempts. Safe to run many at once."""
    deadline = time.monotonic() + WORK_S
    with ThreadPoolExecutor(WEBHOOK_SENDERS + 1, thread_name_prefix="alerts") as threads:
        works = [threads.submit(_in_own_thread, "webhook", deadline) for _ in range(WEBHOOK_SENDERS)]
        works.append(threads.submit(_in_own_thread, "mail", deadline))
        return sum(work.result() for work in works)


def work(channel: outbox.Channel, deadline: float) -> int:
    """One after the other, in this thread, until nothing is due or the time is up."""
    attempts = 0
    while time.monotonic() < deadline:
        delivery = outbox.claim(channel)
        if delivery is None:
            break
        attempts += 1
        _deliver(delivery, channel)
    return attempts


def _deliver(delivery: AlertDelivery, channel: outbox.Channel) -> None:
    """One attempt, recorded however it ends: what one receiver can provoke must not stop the others' alerts."""
    try:
        (_mail if channel == "mail" else _post)(delivery)
    except DATABASE_ERRORS:
        raise
    except Exception:  # whatever it is, it is this delivery's own
        log.exception("alert_delivery_broke", delivery_id=str(delivery.id), channel=channel)
        _failed(delivery, error="internal_error", http_status=None, channel=channel)


def _in_own_thread(channel: outbox.Channel, deadline: float) -> int:
    try:
        return work(channel, deadline)
    finally:
        connection.close()


def _post(delivery: AlertDelivery) -> None:
    endpoint = delivery.endpoint
    if endpoint is None:
        raise TypeError("a mail")
    if not _is_wanted(endpoint):
        outbox.dropped(delivery, reason="user_inactive")
        metrics.WEBHOOKS.labels("dropped").inc()
        return
    status: int | None = None
    try:
        status = _sent(delivery, endpoint)
        error = "" if 200 <= status < 300 else f"http_{status}"
    except SecretUnreadable:
        error = "secret_unreadable"
    except TargetRefused as refusal:
        error = refusal.code
    except (OSError, http.client.HTTPException) as problem:
        error = _reason(problem)
    if error:
        _failed(delivery, error=error, http_status=status, channel="webhook")
    elif outbox.delivered(delivery, http_status=status):
        metrics.WEBHOOKS.labels("delivered").inc()


def _is_wanted(endpoint: WebhookEndpoint) -> bool:
    """The account may have been switched off since the alert was fanned out."""
    return endpoint.user_id is None or get_user_model().objects.filter(pk=endpoint.user_id, is_active=True).exists()


def _sent(delivery: AlertDelivery, endpoint: WebhookEndpoint) -> int:
    body = body_of(delivery)
    headers = signed_headers(
        secret=unseal(endpoint.secret_sealed), message_id=delivery.id, sent_at=timezone.now(), body=body
    )
    return sending.post(endpoint.url, body=body, headers=headers)


def _mail(delivery: AlertDelivery) -> None:
    alert = delivery.alert
    if alert is None:
        raise TypeError("a ping")
    address = address_of(alert)
    if address is None:
        outbox.dropped(delivery, reason="not_wanted")
        metrics.MAILS.labels("dropped").inc()
        return
    try:
        send_mail(delivery, alert, address)
    except OSError as problem:
        _failed(delivery, error=_reason(problem), http_status=None, channel="mail")
    else:
        if outbox.delivered(delivery):
            metrics.MAILS.labels("delivered").inc()


def _failed(delivery: AlertDelivery, *, error: str, http_status: int | None, channel: outbox.Channel) -> None:
    outcome = outbox.not_delivered(delivery, error=error, http_status=http_status)
    (metrics.MAILS if channel == "mail" else metrics.WEBHOOKS).labels(outcome).inc()
    log.warning(
        "alert_not_delivered",
        delivery_id=str(delivery.id),
        channel=channel,
        attempts=delivery.attempts,
        error=error,
        outcome=outcome,
    )


def _reason(problem: Exception) -> str:
    """A word of ours. What the other side said may hold anything."""
    if isinstance(problem, TimeoutError):
        return "timeout"
    if isinstance(problem, ssl.SSLError):
        return "tls_error"
    if isinstance(problem, http.client.HTTPException) and not isinstance(problem, OSError):
        return "no_http"
    return f"connection_{type(problem).__name__}"[:64]
