"""Price versions, the price of each alias and tool in them, and the record of every change to any of these.

What the database itself refuses or records stands in `pricing.triggers`. Upper bounds are there for one more reason
than the column's size: PostgreSQL sorts NaN above every number, so `>= 0` alone would let it in.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from config.core.ids import uuid7
from pricing import triggers
from pricing.rating import LARGEST_CHARGE

ALIAS_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}"
VERSION_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}"
TOOL_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
LARGEST_WEIGHT = Decimal("999999.9999")
LARGEST_DIVISOR = Decimal("99999999999999.9999")
LARGEST_MULTIPLIER = Decimal("99999999.9999")
LARGEST_USD = Decimal("999999999999.99999999")
LARGEST_TOKENS = 2**31 - 1
WEIGHTS = ("weight_input_fresh", "weight_input_cache_write", "weight_input_cached", "weight_output")
USD_RATES = (
    "provider_input_usd_per_mtok",
    "provider_cached_input_usd_per_mtok",
    "provider_cache_write_usd_per_mtok",
    "provider_output_usd_per_mtok",
)


def _named(pattern: str) -> RegexValidator:
    # \Z, because $ would let a trailing newline through.
    return RegexValidator(
        rf"\A{pattern}\Z", "Letters, digits and punctuation only, first a letter or digit, at most 64 characters."
    )


def _weight(default: str, help_text: str) -> models.DecimalField[Any, Any]:
    return models.DecimalField(
        max_digits=10,
        decimal_places=4,
        default=Decimal(default),
        validators=[MinValueValidator(0)],
        help_text=f"OE tokens that one {help_text} token counts as.",
    )


def _usd(help_text: str) -> models.DecimalField[Any, Any]:
    return models.DecimalField(
        max_digits=20,
        decimal_places=8,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text=f"What the provider takes for a million {help_text} tokens, in USD. Cost, never charge.",
    )


def _within(field: str, largest: Decimal | int, *, above_zero: bool = False) -> Q:
    least = {f"{field}__gt": 0} if above_zero else {f"{field}__gte": 0}
    return Q(**least, **{f"{field}__lte": largest})


def _check(name: str, condition: Q, message: str | None = None) -> models.CheckConstraint:
    return models.CheckConstraint(condition=condition, name=name, violation_error_message=message)


class PricingVersion(models.Model):
    """A price list: weights, divisor and a multiplier for each alias. Exactly one is active (L7)."""

    class Status(models.TextChoices):
        DRAFT = "draft"
        SCHEDULED = "scheduled"
        ACTIVE = "active"
        RETIRED = "retired"

    EDITABLE = (Status.DRAFT, Status.ACTIVE)

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    version = models.CharField(
        max_length=64,
        unique=True,
        validators=[_named(VERSION_PATTERN)],
        help_text="The name that turns, events and history refer to; it never changes.",
    )
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.DRAFT, editable=False)
    revision = models.PositiveIntegerField(
        default=1, editable=False, help_text="Counted by the database: one more with every recorded change."
    )
    weight_input_fresh = _weight("0.35", "fresh input")
    weight_input_cache_write = _weight("0.35", "cache-write input")
    weight_input_cached = _weight("0.10", "cached input")
    weight_output = _weight("1.00", "output")
    divisor = models.DecimalField(
        max_digits=18,
        decimal_places=4,
        default=Decimal(10_000),
        validators=[MinValueValidator(Decimal("0.0001"))],
        help_text="OE tokens that one credit buys at multiplier 1.",
    )
    effective_at = models.DateTimeField(
        null=True, blank=True, help_text="When the version is meant to come into force."
    )
    activated_at = models.DateTimeField(null=True, editable=False)
    retired_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    note = models.TextField(
        blank=True, default="", max_length=2000, help_text="Why this version exists. For staff only."
    )

    class Meta:
        db_table = "pricing_versions"
        verbose_name = "price version"
        constraints = [
            models.UniqueConstraint(fields=["status"], condition=Q(status="active"), name="pricing_version_one_active"),
            _check("pricing_version_known_status", Q(status__in=["draft", "scheduled", "active", "retired"])),
            _check("pricing_version_name", Q(version__regex=f"^{VERSION_PATTERN}$")),
            _check("pricing_version_revision_positive", Q(revision__gte=1)),
            _check("pricing_version_divisor", _within("divisor", LARGEST_DIVISOR, above_zero=True)),
            *(_check(f"pricing_version_{weight}", _within(weight, LARGEST_WEIGHT)) for weight in WEIGHTS),
        ]
        triggers = triggers.for_versions()

    def __str__(self) -> str:
        return self.version

    @property
    def editable(self) -> bool:
        """May prices in it be edited? A scheduled version was promised as it is; a retired one is history."""
        return self.status in self.EDITABLE


class ModelPricing(models.Model):
    """What one alias costs in one version, and where it leads."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    version = models.ForeignKey(PricingVersion, on_delete=models.PROTECT, related_name="models")
    model_alias = models.CharField(
        max_length=64,
        validators=[_named(ALIAS_PATTERN)],
        help_text="The name that agents ask for. Exact: gpt-5 never answers for gpt-5.2.",
    )
    multiplier = models.DecimalField(
        max_digits=12,
        decimal_places=4,
        validators=[MinValueValidator(0)],
        help_text="Credits = OE tokens × multiplier ÷ divisor. At most 4 places; 0 is free.",
    )
    provider = models.CharField(
        max_length=64, default="default", help_text="default (LLM_BASE_URL) or a name from LLM_PROVIDERS."
    )
    provider_model = models.CharField(max_length=255, help_text="The model's name at the provider.")
    context_tokens = models.PositiveIntegerField(
        validators=[MinValueValidator(1)], help_text="Input and output together, at most."
    )
    fallback_alias = models.CharField(
        max_length=64,
        null=True,
        blank=True,
        validators=[_named(ALIAS_PATTERN)],
        help_text="Asked where this one fails; billed at its own price.",
    )
    provider_input_usd_per_mtok = _usd("fresh input")
    provider_cached_input_usd_per_mtok = _usd("cached input")
    provider_cache_write_usd_per_mtok = _usd("cache-write input")
    provider_output_usd_per_mtok = _usd("output")
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "model_pricing"
        verbose_name = "model price"
        ordering = ["model_alias"]
        constraints = [
            models.UniqueConstraint(
                fields=["version", "model_alias"],
                name="model_pricing_alias_once_per_version",
                violation_error_message="This version has that model alias already.",
            ),
            _check("model_pricing_alias", Q(model_alias__regex=f"^{ALIAS_PATTERN}$")),
            _check(
                "model_pricing_fallback_is_another",
                Q(fallback_alias=None)
                | (Q(fallback_alias__regex=f"^{ALIAS_PATTERN}$") & ~Q(fallback_alias=models.F("model_alias"))),
                "A model alias cannot fall back to itself.",
            ),
            _check("model_pricing_multiplier", _within("multiplier", LARGEST_MULTIPLIER)),
            _check("model_pricing_context_tokens", Q(context_tokens__gte=1)),
            _check("model_pricing_leads_somewhere", ~Q(provider="") & ~Q(provider_model="")),
            *(_check(f"model_pricing_{rate}", Q(**{rate: None}) | _within(rate, LARGEST_USD)) for rate in USD_RATES),
        ]
        triggers = triggers.for_model_prices()

    def __str__(self) -> str:
        return self.model_alias


class ToolPricing(models.Model):
    """What a call of one tool costs in one version. A tool that is not named costs nothing."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    version = models.ForeignKey(PricingVersion, on_delete=models.PROTECT, related_name="tools")
    tool_name = models.CharField(
        max_length=64, validators=[_named(TOOL_PATTERN)], help_text="The name by which models call it, such as search."
    )
    credits_per_call = models.DecimalField(
        max_digits=18,
        decimal_places=8,
        validators=[MinValueValidator(0), MaxValueValidator(LARGEST_CHARGE)],
        help_text="What a call costs that ran and succeeded, at most 8 places; every other one is free. 0 is free.",
    )
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "tool_pricing"
        verbose_name = "tool price"
        ordering = ["tool_name"]
        constraints = [
            models.UniqueConstraint(
                fields=["version", "tool_name"],
                name="tool_pricing_tool_once_per_version",
                violation_error_message="This version has that tool already.",
            ),
            _check("tool_pricing_name", Q(tool_name__regex=f"^{TOOL_PATTERN}$")),
            _check("tool_pricing_credits_per_call", _within("credits_per_call", LARGEST_CHARGE)),
        ]
        triggers = triggers.for_tool_prices()

    def __str__(self) -> str:
        return self.tool_name


class PricingRevision(models.Model):
    """One recorded change of a version or of a price in it. Written by the database's triggers alone; append-only."""

    class Action(models.TextChoices):
        CREATED = "created"
        CHANGED = "changed"
        REMOVED = "removed"
        STATUS = "status"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    pricing_version = models.CharField(max_length=64)
    revision = models.PositiveIntegerField()
    action = models.CharField(max_length=16, choices=Action.choices)
    model_alias = models.CharField(max_length=64, null=True, help_text="Whose price has changed, if a model's.")
    tool_name = models.CharField(
        max_length=64, null=True, help_text="Whose price has changed, if a tool's. None of both: the version itself."
    )
    changes = models.JSONField(help_text='Each changed field: {"old": …, "new": …}, values as text.')
    snapshot = models.JSONField(help_text="The whole version as it is from this revision on, values as text.")
    actor = models.TextField(help_text="Who: a user's id, or what the program was doing.")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "pricing_revisions"
        verbose_name = "price revision"
        constraints = [
            models.UniqueConstraint(fields=["pricing_version", "revision"], name="pricing_revision_once_per_version"),
            _check("pricing_revision_known_action", Q(action__in=["created", "changed", "removed", "status"])),
        ]
        triggers = triggers.for_revisions()

    def __str__(self) -> str:
        return f"{self.pricing_version} revision {self.revision}"
