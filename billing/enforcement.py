"""Whether an empty wallet stops a turn: `off`, `warn` or `hard`. Staff's override at run time, else the environment."""

from __future__ import annotations

from typing import cast

from django.conf import settings
from django.db.models.functions import Now

from billing.ledger.states import Enforcement
from billing.models import EnforcementOverride

# For statements that read it along with other things, such as the opening of a turn: it is never cached.
OVERRIDE_SQL = "(SELECT enforcement FROM enforcement_override)"


def effective(override: str | None) -> Enforcement:
    return cast(Enforcement, override or settings.CREDIT_ENFORCEMENT)


def current() -> Enforcement:
    return effective(EnforcementOverride.objects.values_list("enforcement", flat=True).first())


def set_override(*, enforcement: str, updated_by: str) -> None:
    """In force for every process from its commit on. Idempotent."""
    EnforcementOverride.objects.update_or_create(
        singleton=True, defaults={"enforcement": enforcement, "updated_by": updated_by, "updated_at": Now()}
    )


def clear_override() -> None:
    """Back to the environment's setting. Idempotent."""
    EnforcementOverride.objects.all().delete()


def describe() -> dict[str, str | None]:
    row = EnforcementOverride.objects.first()
    return {
        "enforcement": effective(row.enforcement if row else None),
        "source": "override" if row else "environment",
        "environment": settings.CREDIT_ENFORCEMENT,
        "updated_by": row.updated_by if row else None,
    }
