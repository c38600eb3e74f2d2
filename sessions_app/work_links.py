"""Where staff are led from an entry or a hold: to a turn and its bill, or to a direct completion. By rights alone."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.urls import reverse

from billing.reference_links import Link

# A bill says what was called and charged; a turn also what was written.
MAY_SEE_BILLS = "billing.view_llmcallevent"


def turn_links(user: Any, turn_id: UUID) -> list[Link]:
    links = []
    if user.has_perm("sessions_app.view_turn"):
        links.append(Link("turn", reverse("admin:sessions_app_turn_change", args=[turn_id])))
    if user.has_perm(MAY_SEE_BILLS):
        links.append(Link("bill", reverse("admin:sessions_app_turn_bill", args=[turn_id])))
    return links


def completion_links(user: Any, completion_id: UUID) -> list[Link]:
    if not user.has_perm("sessions_app.view_completion"):
        return []
    return [Link("completion", reverse("admin:sessions_app_completion_change", args=[completion_id]))]
