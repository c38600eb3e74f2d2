"""Whom a price version would leave without a model: on the admin's page about it, before it comes into force."""

from __future__ import annotations

from django.conf import settings
from django.db.models import Count
from django.http import HttpRequest
from django.template.loader import render_to_string

from pricing.history import book_at
from pricing.models import PricingVersion
from sessions_app.models import Agent


def agents_section(request: HttpRequest, version: PricingVersion) -> str:
    """How many agents, of how many people, ask for an alias that the version lacks; and which settings do."""
    book = book_at(version.version, version.revision)
    asking = Agent.objects.filter(deleted_at=None).exclude(model_alias__in=[*book.models]).values("model_alias")
    counted = asking.annotate(agents=Count("id"), people=Count("user_id", distinct=True)).order_by("-agents")
    wanted = {name: getattr(settings, name) for name in ("ORCHESTRATOR_MODEL_ALIAS", "SUMMARY_MODEL_ALIAS")}
    left_out = {name: alias for name, alias in wanted.items() if alias and book.find(alias) is None}
    shown = {"agents": list(counted), "settings": left_out, "version": version}
    return render_to_string("admin/sessions_app/price_review.html", shown, request)
