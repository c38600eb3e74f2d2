"""Staff's view of prices. Each save is one transaction, locked, checked against what the page showed, and recorded."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.db import models, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from pricing.actor import act_as
from pricing.forms import (
    PRICE_FIELDS,
    TOOL_FIELDS,
    PlainDecimalField,
    PriceForm,
    PriceFormSet,
    ToolPriceForm,
    VersionForm,
)
from pricing.models import WEIGHTS, ModelPricing, PricingRevision, PricingVersion, ToolPricing
from pricing.saying import said_since
from pricing.version_pages import VersionPages

EXACT_NUMBERS: dict[type[models.Field[Any, Any]], dict[str, Any]] = {
    models.DecimalField: {"form_class": PlainDecimalField}
}


class _PricesInline(admin.TabularInline):  # type: ignore[type-arg]
    """Prices are edited where their version is."""

    formfield_overrides = EXACT_NUMBERS
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: PricingVersion | None = None) -> bool:
        return _editable(obj) and super().has_add_permission(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: PricingVersion | None = None) -> bool:
        return _editable(obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: PricingVersion | None = None) -> bool:
        return _editable(obj) and super().has_delete_permission(request, obj)


class PriceInline(_PricesInline):
    model = ModelPricing
    form = PriceForm
    formset = PriceFormSet
    verbose_name_plural = "model prices: multipliers are edited here, also while the version is active"
    fields = PRICE_FIELDS

    def has_delete_permission(self, request: HttpRequest, obj: PricingVersion | None = None) -> bool:
        """From drafts only: turns that ask for an alias which the active version has lost are refused at once."""
        in_draft = obj is None or obj.status == PricingVersion.Status.DRAFT
        return in_draft and super().has_delete_permission(request, obj)


class ToolPriceInline(_PricesInline):
    model = ToolPricing
    form = ToolPriceForm
    verbose_name_plural = "tool prices: credits per call; a tool that is not listed is free"
    fields = TOOL_FIELDS


def _editable(version: PricingVersion | None) -> bool:
    return version is None or version.editable


@admin.register(PricingVersion)
class PricingVersionAdmin(VersionPages):
    """Drafts and the active version are edited here, scheduled and retired ones shown. No status is set by hand."""

    form = VersionForm
    formfield_overrides = EXACT_NUMBERS
    inlines = (PriceInline, ToolPriceInline)
    list_display = ("version", "status", "revision", "effective_at", "activated_at", "retired_at", "note")
    list_filter = ("status",)
    search_fields = ("version", "note")
    ordering = ("-created_at",)
    show_full_result_count = False
    readonly_fields = ("status", "revision", "activated_at", "retired_at", "created_at")
    fieldsets = (
        (None, {"fields": ("version", "note", "seen_revision")}),
        (
            "State",
            {
                "fields": ("status", "revision", "effective_at", "activated_at", "retired_at", "created_at"),
                "description": "A version is made as a draft. Every saved change is one more revision, kept for good.",
            },
        ),
        (
            "Weights",
            {
                "fields": (*WEIGHTS, "divisor"),
                "description": "Credits = OE tokens × multiplier ÷ divisor. Frozen once the version leaves draft.",
            },
        ),
    )

    def get_fieldsets(self, request: HttpRequest, obj: PricingVersion | None = None) -> Any:
        """What is not made yet has no state to show, but for when it is to come into force."""
        names, (title, state), weights = super().get_fieldsets(request, obj)
        return names, (title, state if obj else {**state, "fields": ("effective_at",)}), weights

    def get_readonly_fields(self, request: HttpRequest, obj: PricingVersion | None = None) -> tuple[str, ...]:
        fields = tuple(super().get_readonly_fields(request, obj))
        if obj is None:
            return fields
        frozen = () if obj.status == PricingVersion.Status.DRAFT else ("effective_at", *WEIGHTS, "divisor")
        return (*fields, "version", *frozen)

    def has_change_permission(self, request: HttpRequest, obj: PricingVersion | None = None) -> bool:
        return _editable(obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: PricingVersion | None = None) -> bool:
        """Nobody: turns, events and history refer to a version by name. This also takes the bulk action away."""
        return False

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Django saves version and prices in one transaction; here that transaction learns who it is for."""
        if request.method != "POST":
            return super().changeform_view(request, *args, **kwargs)
        with transaction.atomic():
            act_as(str(request.user.pk))
            return super().changeform_view(request, *args, **kwargs)

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        """Old → new, of the version and of each price; Django would name the fields alone."""
        return said_since(form.instance.version, 0 if add else form.cleaned_data["seen_revision"])

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """A page that is saved as it was is no change."""
        return super().log_change(request, obj, message) if message else None

    def save_model(self, request: HttpRequest, obj: PricingVersion, form: Any, change: bool) -> None:
        """Only what was changed is written: the rest of the instance is as old as the page."""
        if not change:
            super().save_model(request, obj, form, change)
            return
        own = [name for name in form.changed_data if name != "seen_revision"]
        if own:
            obj.save(update_fields=own)


@admin.register(PricingRevision)
class PricingRevisionAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Who changed what, when, old → new. The database writes these rows; nobody changes them."""

    list_display = (
        "created_at",
        "actor",
        "pricing_version",
        "revision",
        "action",
        "model_alias",
        "tool_name",
        "edited",
    )
    list_filter = ("action", "pricing_version")
    search_fields = ("=model_alias", "=tool_name", "=actor")
    search_help_text = "model alias, tool or actor"
    ordering = ("-created_at", "-revision")
    show_full_result_count = False
    fields = (*list_display[:-1], "old_to_new", "version_from_then_on")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[PricingRevision]:
        rows: QuerySet[PricingRevision] = super().get_queryset(request)
        # Each holds the whole price list, which a list of changes does not show.
        return (
            rows if request.resolver_match and "object_id" in request.resolver_match.kwargs else rows.defer("snapshot")
        )

    @admin.display(description="old → new")
    def edited(self, revision: PricingRevision) -> str:
        """In the list: of what was made, all is new, and fills the screen."""
        return "–" if revision.action == PricingRevision.Action.CREATED else self.old_to_new(revision)

    @admin.display(description="the version from then on")
    def version_from_then_on(self, revision: PricingRevision) -> SafeString:
        return format_html("<pre>{}</pre>", json.dumps(revision.snapshot, indent=2, ensure_ascii=False))

    @admin.display(description="old → new")
    def old_to_new(self, revision: PricingRevision) -> SafeString:
        changed = sorted(revision.changes.items())
        rows = ((name, _shown(values["old"]), _shown(values["new"])) for name, values in changed)
        return format_html_join("\n", "<div>{}: {} → {}</div>", rows)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: PricingRevision | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: PricingRevision | None = None) -> bool:
        return False


def _shown(value: str | None) -> str:
    return "–" if value is None else value
