"""What pricing's tests need: the seeded version, edits past the services, and clients."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import Permission
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from pricing import cache, drafting, lifecycle, services
from pricing.models import ModelPricing, PricingRevision, PricingVersion, ToolPricing
from pricing.services import put_tool
from users.models import User
from users.tests.makers import make_token, make_user

SEED = "2026-02-20"
# The seeded version was made at revision 1, and each of its seven prices was one more.
SEED_REVISION = 8


def run_sql(sql: str, **parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)


def set_by_sql(model_alias: str, multiplier: str) -> None:
    """An edit that no signal and no service hears of, as somebody in psql would make it."""
    run_sql(
        "UPDATE model_pricing SET multiplier = %(multiplier)s WHERE model_alias = %(alias)s",
        multiplier=multiplier,
        alias=model_alias,
    )


def seeded() -> PricingVersion:
    return PricingVersion.objects.get(version=SEED)


def price(model_alias: str = "gpt-4o", version: str = SEED) -> ModelPricing:
    return ModelPricing.objects.get(version__version=version, model_alias=model_alias)


def make_draft(version: str = "next", **fields: Any) -> PricingVersion:
    return PricingVersion.objects.create(version=version, **fields)


def add_price(version: PricingVersion, model_alias: str = "gpt-4o", **fields: Any) -> ModelPricing:
    values: dict[str, Any] = {"multiplier": Decimal(3), "provider_model": model_alias, "context_tokens": 1000, **fields}
    return ModelPricing.objects.create(version=version, model_alias=model_alias, **values)


def price_tool(tool_name: str = "search", credits_per_call: str = "0.01", *, version: str = SEED) -> ToolPricing:
    """Through the service, as staff do it: a recorded revision."""
    row, _ = put_tool(
        pricing_version=version, tool_name=tool_name, credits_per_call=Decimal(credits_per_call), actor="test"
    )
    # What a commit does, which most tests never come to.
    cache.latest()
    return row


def retire(version: PricingVersion) -> PricingVersion:
    """A draft that goes to retired at once: history, without a second version ever being active."""
    PricingVersion.objects.filter(pk=version.pk).update(status="retired")
    version.refresh_from_db()
    return version


def stored() -> dict[str, Any]:
    """Everything that is stored about prices, to be compared before and after a refusal."""
    return {
        "versions": list(PricingVersion.objects.order_by("id").values()),
        "prices": list(ModelPricing.objects.order_by("id").values()),
        "tools": list(ToolPricing.objects.order_by("id").values()),
        "revisions": list(PricingRevision.objects.order_by("id").values()),
    }


def make_staff(*permissions: str, email: str = "staff@example.com") -> User:
    user = make_user(email, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions, content_type__app_label="pricing"))
    return user


def client_of(user: User | None) -> APIClient:
    """A client with the user's bearer token, or with none. It sees a 500 as its caller would."""
    client = APIClient(raise_request_exception=False)
    if user is not None:
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {make_token(user)}")
    return client


def refused(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The problem document of an answer that must be a refusal."""
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"], body["status"]) == (status, code, status)
    assert answer["Content-Type"] == "application/problem+json"
    return body


def make_next(version: str = "next", *, multiplier: str = "3", **fields: Any) -> PricingVersion:
    """A draft that is a copy of the active version but for gpt-4o's multiplier."""
    drafting.make_draft(version=version, actor="test", fields=fields)
    services.set_multiplier(model_alias="gpt-4o", multiplier=Decimal(multiplier), actor="test", pricing_version=version)
    return PricingVersion.objects.get(version=version)


def in_an_hour() -> datetime:
    return timezone.now() + timedelta(hours=1)


def make_scheduled(version: str = "next", *, effective_at: datetime | None = None, **fields: Any) -> PricingVersion:
    make_next(version, **fields)
    return lifecycle.schedule(pricing_version=version, effective_at=effective_at or in_an_hour(), actor="test")


def statuses() -> dict[str, str]:
    return dict(PricingVersion.objects.values_list("version", "status"))
