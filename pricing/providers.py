"""Which providers this deployment has. Their addresses and keys are none of pricing's business."""

from __future__ import annotations

from django.conf import settings


def configured_provider_names() -> frozenset[str]:
    """`default` where LLM_BASE_URL is set, and every name in LLM_PROVIDERS."""
    names = set(settings.LLM_PROVIDERS)
    if settings.LLM_BASE_URL:
        names.add("default")
    return frozenset(names)
