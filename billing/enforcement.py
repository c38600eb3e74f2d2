"""Whether an empty wallet stops a turn: `off`, `warn` or `hard`.

What staff set for the user goes first, then what they set for the deployment, then the environment. Never cached.
"""

from __future__ import annotations

from typing import cast
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from billing.ledger.states import Enforcement
from billing.models import EnforcementOverride, UserEnforcement
from users.staff_log import DELETION, record

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
    with transaction.atomic():
        before = describe()["enforcement"]
        row, _ = EnforcementOverride.objects.update_or_create(
            singleton=True, defaults={"enforcement": enforcement, "updated_by": updated_by, "updated_at": Now()}
        )
        record(row, f"Enforcement of the deployment: {before} → {enforcement}.", actor=updated_by)


def clear_override(*, cleared_by: str) -> None:
    """Back to the environment's setting. Idempotent."""
    with transaction.atomic():
        row = EnforcementOverride.objects.select_for_update().first()
        if row is None:
            return
        after = settings.CREDIT_ENFORCEMENT
        message = f"Enforcement of the deployment: {row.enforcement} → {after}, the environment's."
        record(row, message, actor=cleared_by, flag=DELETION)
        row.delete()


def set_for_user(*, user_id: UUID, enforcement: str, updated_by: str) -> None:
    """In force for this user from its commit on. Idempotent."""
    with transaction.atomic():
        before = describe(user_id=user_id)["enforcement"]
        row, _ = UserEnforcement.objects.update_or_create(
            user_id=user_id, defaults={"enforcement": enforcement, "updated_by": updated_by, "updated_at": Now()}
        )
        record(row, f"Enforcement of user {user_id}: {before} → {enforcement}.", actor=updated_by)


def clear_for_user(*, user_id: UUID, cleared_by: str) -> None:
    """Back to the deployment's. Idempotent."""
    with transaction.atomic():
        row = UserEnforcement.objects.select_for_update().filter(user_id=user_id).first()
        if row is None:
            return
        after = describe()["enforcement"]
        record(
            row, f"Enforcement of user {user_id}: {row.enforcement} → {after}, the deployment's.", actor=cleared_by,
            flag=DELETION,
        )  # fmt: skip
        row.delete()


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
