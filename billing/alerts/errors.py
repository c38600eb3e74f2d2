"""What the alerts' API refuses."""

from __future__ import annotations

from config.core.errors import DomainError


class WebhookDisabled(DomainError):
    code, status, title = "webhook_disabled", 409, "Webhook disabled"

    def __init__(self) -> None:
        super().__init__("This webhook has answered 410 Gone and gets no more messages; delete it and make a new one.")
