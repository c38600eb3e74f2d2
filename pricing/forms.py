"""The admin's forms for prices: what they refuse is an error on the page, with nothing written."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import OperationalError, transaction
from django.utils import timezone

from config.core.transactions import LOCK_TIMEOUT_SQLSTATE, sqlstate
from pricing.models import USD_RATES, WEIGHTS, ModelPricing, PricingVersion, ToolPricing

PRICE_FIELDS = (
    *("model_alias", "multiplier", "provider", "provider_model", "context_tokens", "fallback_alias"),
    *USD_RATES,
)
TOOL_FIELDS = ("tool_name", "credits_per_call")
_PLAIN_NUMBER = re.compile(r"\s*-?[0-9]*\.?[0-9]*\s*")


class PlainDecimalField(forms.DecimalField):
    """Digits and a point. Django lets "sNaN" through to a comparison that raises, and takes exponents."""

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and not _PLAIN_NUMBER.fullmatch(value):
            raise ValidationError(self.error_messages["invalid"], code="invalid")
        return super().to_python(value)


class VersionForm(forms.ModelForm):  # type: ignore[type-arg]
    """Knows the revision that the page showed, so that an old page cannot write old prices back over newer ones."""

    seen_revision = forms.IntegerField(widget=forms.HiddenInput, required=False)

    class Meta:
        model = PricingVersion
        fields = ("version", "note", "effective_at", *WEIGHTS, "divisor")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and not self.instance._state.adding:  # noqa: SLF001 - Django's documented way to ask
            self.initial["seen_revision"] = self.instance.revision
        if "effective_at" in self.fields:
            # Date and time are two fields; the label that they share is for neither.
            for part in self.fields["effective_at"].widget.widgets:
                part.attrs["aria-label"] = self.fields["effective_at"].label

    def clean_effective_at(self) -> Any:
        moment = self.cleaned_data["effective_at"]
        if moment is not None and "effective_at" in self.changed_data and moment <= timezone.now():
            raise ValidationError("Must lie in the future.", code="not_in_future")
        return moment

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if self.instance._state.adding:  # noqa: SLF001
            return cleaned
        stored = _locked(self.instance)
        if not stored.editable:
            raise ValidationError(f"This version is {stored.status} by now and cannot be edited.")
        if self.cleaned_data.get("seen_revision") != stored.revision:
            raise ValidationError(
                "Somebody else has changed prices of this version since you opened the page. Open it again.",
                code="stale_revision",
            )
        return cleaned


def _locked(version: PricingVersion) -> PricingVersion:
    """Lock the version until the save is through: the inline's rows are read after this, and cannot change any more."""
    try:
        # A savepoint, so that the page can still be shown after a lock timeout.
        with transaction.atomic():
            return PricingVersion.objects.select_for_update().get(pk=version.pk)
    except OperationalError as error:
        if sqlstate(error) != LOCK_TIMEOUT_SQLSTATE:
            raise
        raise ValidationError("Somebody else is saving prices of this version right now. Try again.") from None


class PriceFormSet(forms.BaseInlineFormSet):  # type: ignore[type-arg]
    def clean(self) -> None:
        """A fallback must be another alias of the version, as it will be after this save."""
        super().clean()
        kept = [form for form in self.forms if form.is_valid() and form not in self.deleted_forms]
        aliases = {form.instance.model_alias for form in kept}
        for form in kept:
            fallback = form.cleaned_data.get("fallback_alias")
            if fallback and fallback not in aliases - {form.instance.model_alias}:
                form.add_error("fallback_alias", "No other model alias of this version has that name.")


class _NamedPriceForm(forms.ModelForm):  # type: ignore[type-arg]
    """The name makes the price; another name is another price. A disabled field keeps what is stored."""

    name: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.name in self.fields and not self.instance._state.adding:  # noqa: SLF001
            self.fields[self.name].disabled = True


class PriceForm(_NamedPriceForm):
    name = "model_alias"

    class Meta:
        model = ModelPricing
        fields = PRICE_FIELDS


class ToolPriceForm(_NamedPriceForm):
    name = "tool_name"

    class Meta:
        model = ToolPricing
        fields = TOOL_FIELDS
