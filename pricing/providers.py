"""Which providers this deployment has. Their addresses and keys are none of pricing's business."""

from __future__ import annotations

import os

from django.conf import settings


def configured_provider_names() -> frozenset[str]:
    """`default` where LLM_BASE_URL is set, and every name in LLM_PROVIDERS whose key, where it names one, is there."""
    names = {
        name
        for name, spec in settings.LLM_PROVIDERS.items()
        if not spec.get("api_key_env") or os.environ.get(spec["api_key_env"], "").strip()
    }
    if settings.LLM_BASE_URL:
        names.add("default")
    return frozenset(names)
