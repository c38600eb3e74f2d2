"""Whether an empty wallet stops a turn: `off`, `warn` or `hard`.

What staff set for the user goes first, then what they set for the deployment, then the environment. Never cached.
"""

from __future__ import annotations

from typing import cast
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from billing.ledger.states import Enforcement
from billing.models import EnforcementOverride, UserEnforcement

# For statements that read it along with other things, such as the opening of a turn; they bind `user_id`.
OVERRIDE_SQL = """COALESCE((SELECT u.enforcement FROM user_enforcement u WHERE u.user_id = %(user_id)s),
                (SELECT o.enforcement FROM enforcement_override o))"""


def effective(override: str | None) -> Enforcement:
    return cast(Enforcement, override or settings.CREDIT_ENFORCEMENT)


def current(*, user_id: UUID) -> Enforcement:
    """What is in force for this user now."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {OVERRIDE_SQL}", {"user_id": user_id})
        return effective(cursor.fetchone()[0])


def set_override(*, enforcement: str, updated_by: str) -> None:
    """In force for every process from its commit on. Idempotent."""
    EnforcementOverride.objects.update_or_create(
        singleton=True, defaults={"enforcement": enforcement, "updated_by": updated_by, "updated_at": Now()}
    )


def clear_override() -> None:
    """Back to the environment's setting. Idempotent."""
    EnforcementOverride.objects.all().delete()


def set_for_user(*, user_id: UUID, enforcement: str, updated_by: str) -> None:
    """In force for this user from its commit on. Idempotent."""
    UserEnforcement.objects.update_or_create(
        user_id=user_id, defaults={"enforcement": enforcement, "updated_by": updated_by, "updated_at": Now()}
    )


def clear_for_user(*, user_id: UUID) -> None:
    """Back to the deployment's. Idempotent."""
    UserEnforcement.objects.filter(user_id=user_id).delete()


def describe(*, user_id: UUID | None = None) -> dict[str, str | None]:
    """What is in force, for the deployment or for one user, and where it comes from."""
    own = UserEnforcement.objects.filter(user_id=user_id).first() if user_id else None
    deployment = EnforcementOverride.objects.first()
    row = own or deployment
    return {
        "enforcement": effective(row.enforcement if row else None),
        "source": "user" if own else "override" if deployment else "environment",
        "environment": settings.CREDIT_ENFORCEMENT,
        "updated_by": row.updated_by if row else None,
    }
