"""A saved price reaches this process and all others, but only once it is committed.

A bulk `update()` sends no signal: such a change is recorded all the same, and found by the next look.
"""

from __future__ import annotations

from typing import Any

import structlog
from django.db import DatabaseError, InterfaceError, transaction
from django.db.models.signals import post_delete, post_save

from pricing import bus, cache
from pricing.errors import NoActiveVersion
from pricing.models import ModelPricing, PricingVersion, ToolPricing
from pricing.price_book import PriceBook

log = structlog.get_logger(__name__)

_announced: PriceBook | None = None


def connect() -> None:
    for model in (ModelPricing, ToolPricing, PricingVersion):
        for signal in (post_save, post_delete):
            signal.connect(on_price_saved, sender=model, dispatch_uid=f"pricing {model.__name__} {id(signal)}")


def on_price_saved(*, using: str, **_: Any) -> None:
    transaction.on_commit(announce, using=using)


def announce() -> None:
    """Swap this process's snapshot and tell the others. Never fails: the price is saved, whoever has heard of it.

    A transaction that saved eight prices calls this eight times; the first call finds everything committed, and the
    others find nothing new and stay silent.
    """
    global _announced  # noqa: PLW0603 - what the others were told last
    try:
        book = cache.latest()
    except (DatabaseError, InterfaceError, NoActiveVersion) as error:
        log.warning("pricing_reload_failed", error=str(error))
        return
    if book is not _announced:
        _announced = book
        bus.publish(pricing_version=book.pricing_version, revision=book.revision)
