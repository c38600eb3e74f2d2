"""Alerts as plain-text mails, one template a kind. The first line of a template is the subject."""

from __future__ import annotations

from email.utils import parseaddr

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.mail import EmailMessage
from django.template.loader import render_to_string

from billing.alerts.messages import data_of
from billing.models import Alert, AlertDelivery, AlertPreference
from users.addresses import is_placeholder


def address_of(alert: Alert) -> str | None:
    """Where the user reads mail; None where nobody knows, the account is gone or switched off, or wants none."""
    if AlertPreference.objects.filter(user_id=alert.user_id, email=False).exists():
        return None
    users = get_user_model().objects.filter(pk=alert.user_id, is_active=True)
    address = users.values_list("email", flat=True).first()
    return None if not address or is_placeholder(address) else address


def send_mail(delivery: AlertDelivery, alert: Alert, address: str) -> None:
    """Hand one mail to the mail server. The message id is the delivery's: a mail that came twice is the same mail.

    Raises: OSError (smtplib's errors among them).
    """
    context = {**data_of(alert), "at": alert.created_at, "ends": alert.expires_at}
    subject, _, text = render_to_string(f"alerts/{alert.kind}.txt", context).partition("\n")
    EmailMessage(
        subject=subject.strip(), body=text.strip() + "\n", to=[address], headers={"Message-ID": _message_id(delivery)}
    ).send()


def _message_id(delivery: AlertDelivery) -> str:
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
    return f"<{delivery.id}@{domain}>"
