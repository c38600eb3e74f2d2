"""Column types that money tables share."""

from __future__ import annotations

from decimal import Decimal

from django.db import models

# The largest amount that a ledger column holds. PostgreSQL counts NaN as larger than every number, so that ranges keep
# it out.
LARGEST = Decimal("9999999999.99999999")


def credits_field(**kwargs: object) -> models.DecimalField:  # type: ignore[type-arg]
    return models.DecimalField(max_digits=18, decimal_places=8, **kwargs)  # type: ignore[arg-type]


def usd_field() -> models.DecimalField:  # type: ignore[type-arg]
    return models.DecimalField(max_digits=20, decimal_places=8, null=True)
