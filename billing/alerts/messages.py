"""What a webhook says, and how it is signed: Standard Webhooks, version 1."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from billing.alerts.sealing import MARK
from billing.models import Alert, AlertDelivery
from config.core.money import ledger_text

PING = "ping"


def body_of(delivery: AlertDelivery) -> bytes:
    """The same bytes at every attempt."""
    if delivery.alert is None:
        message = _message(PING, delivery.created_at, {"webhook_id": str(delivery.endpoint_id)})
    else:
        message = _message(delivery.alert.kind, delivery.alert.created_at, data_of(delivery.alert))
    return json.dumps(message, separators=(",", ":")).encode()


def data_of(alert: Alert) -> dict[str, Any]:
    """What happened, in the API's formats: credits as text at 8 places, times RFC 3339 in UTC."""
    data = {"alert_id": str(alert.id), "user_id": str(alert.user_id), "balance": ledger_text(alert.balance)}
    if alert.threshold is not None:
        data["threshold"] = ledger_text(alert.threshold)
    if alert.expires_at is not None and alert.remaining is not None:
        data["grant_id"] = str(alert.grant_id)
        data["expires_at"] = _time(alert.expires_at)
        data["remaining"] = ledger_text(alert.remaining)
    return data


def signed_headers(*, secret: str, message_id: UUID, sent_at: datetime, body: bytes) -> dict[str, str]:
    """The three headers. `sent_at` is the attempt's: a receiver refuses what is older than a few minutes."""
    timestamp = str(int(sent_at.timestamp()))
    key = base64.b64decode(secret.removeprefix(MARK))
    mac = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": str(message_id),
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


def _message(type_: str, timestamp: datetime, data: dict[str, Any]) -> dict[str, Any]:
    return {"type": type_, "timestamp": _time(timestamp), "data": data}


def _time(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
