"""The first price version. Its rows are recorded by the triggers of 0001, so its history starts here too.

Provider rates: genai-prices 0.2.3, in USD per million tokens; where they depend on the size of a prompt, those of a
short one, and where they depend on the hour, those of the day.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db import migrations
from django.db.models.functions import Now

VERSION = "2026-02-20"
# alias, multiplier, provider_model, context_tokens, then USD for input, cached input, cache write, output.
ROWS = (
    ("deepseek", "0.5", "deepseek-chat", 64_000, "0.27", "0.07", None, "1.1"),
    ("gemini-flash", "0.8", "gemini-2.5-flash", 1_048_576, "0.3", "0.03", None, "2.5"),
    ("gemini-pro", "1.2", "gemini-2.5-pro", 1_048_576, "1.25", "0.125", None, "10"),
    ("gpt-4o-mini", "1.0", "gpt-4o-mini", 128_000, "0.15", "0.075", None, "0.6"),
    ("gpt-4o", "2.0", "gpt-4o", 128_000, "2.5", "1.25", None, "10"),
    ("claude-haiku", "0.8", "claude-haiku-4-5", 200_000, "1", "0.1", "1.25", "5"),
    ("claude-sonnet", "1.5", "claude-sonnet-4-5", 200_000, "3", "0.3", "3.75", "15"),
)


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def seed(apps: Any, schema_editor: Any) -> None:
    """Only into a database without it: the reverse leaves the version, because history refers to it."""
    versions = apps.get_model("pricing", "PricingVersion")
    prices = apps.get_model("pricing", "ModelPricing")
    if versions.objects.filter(version=VERSION).exists():
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT set_config('tallyroom.actor', 'migration', true)")
    version = versions.objects.create(
        version=VERSION, status="active", effective_at=Now(), activated_at=Now(), note="The first price version."
    )
    for alias, multiplier, provider_model, context_tokens, *usd in ROWS:
        fresh, cached, cache_write, output = map(_decimal, usd)
        prices.objects.create(
            version=version,
            model_alias=alias,
            multiplier=Decimal(multiplier),
            provider_model=provider_model,
            context_tokens=context_tokens,
            provider_input_usd_per_mtok=fresh,
            provider_cached_input_usd_per_mtok=cached,
            provider_cache_write_usd_per_mtok=cache_write,
            provider_output_usd_per_mtok=output,
        )


class Migration(migrations.Migration):
    dependencies = [("pricing", "0001_initial")]
    operations = [migrations.RunPython(seed, migrations.RunPython.noop)]
