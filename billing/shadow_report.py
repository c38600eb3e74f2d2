"""What switching `hard` on would do: told by the work that ran under `warn`."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db.models import Count, Max, Q, Sum

from billing.models import CreditHold, ShadowRefusal
from config.core.ids import first_uuid7_at

TOP_USERS = 20


def shadow_report(*, start: datetime, end: datetime) -> dict[str, Any]:
    """Refusals in [start, end), out of how many pieces of work: in all, by stage, and of whom most."""
    # By primary key: there is no other index on their time.
    holds = CreditHold.objects.filter(id__gte=first_uuid7_at(start), id__lt=first_uuid7_at(end))
    return {"from": start, "to": end, "pieces_of_work": holds.count(), **refusals(start=start, end=end)}


def refusals(
    *, start: datetime, end: datetime, user_id: UUID | None = None, model_alias: str | None = None,
    top: int = TOP_USERS,
) -> dict[str, Any]:  # fmt: skip
    """What would have been refused in [start, end), of one user or alias or of all, and whom it would have met most.

    `credits_missing` is what the refused calls would have needed beyond what was available.
    """
    wanted = {"user_id": user_id, "model_alias": model_alias}
    refused = ShadowRefusal.objects.filter(
        created_at__gte=start, created_at__lt=end, **{name: value for name, value in wanted.items() if value}
    )
    totals = refused.aggregate(
        refused=Count("id"),
        would_not_have_begun=Count("id", filter=Q(stage=ShadowRefusal.Stage.OPENING)),
        would_have_ended_early=Count("id", filter=Q(stage=ShadowRefusal.Stage.BETWEEN_CALLS)),
        users=Count("user_id", distinct=True),
    )
    return {**totals, "top_users": _top_users(refused, top)}


def _top_users(refused: Any, top: int) -> list[dict[str, Any]]:
    rows = list(
        refused.values("user_id")
        .annotate(refused=Count("id"), last_at=Max("created_at"), credits_missing=Sum("required") - Sum("available"))
        .order_by("-refused", "user_id")[:top]
    )
    emails = dict(get_user_model().objects.filter(pk__in=[row["user_id"] for row in rows]).values_list("pk", "email"))
    return [{**row, "email": emails.get(row["user_id"], "")} for row in rows]
