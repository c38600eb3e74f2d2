"""Forms for corrections in the admin. Each carries a token, made when it was first shown: it is done once."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django import forms
from django.contrib.admin.widgets import AdminSplitDateTime
from django.utils import timezone

from billing.corrections.serializers import REASON_MAX
from billing.models import CreditGrant
from config.core.ids import uuid7
from config.core.money import ZERO, parse_credits
from pricing import cache as price_cache

GIVEN_KINDS = [(kind.value, kind.label) for kind in CreditGrant.Kind if kind != CreditGrant.Kind.ADJUSTMENT]


class CreditsFormField(forms.CharField):
    """A decimal with at most 8 places that fits the ledger."""

    def __init__(self, *, positive: bool, **kwargs: Any) -> None:
        self.positive = positive
        attributes = {"inputmode": "decimal", "autocomplete": "off"}
        super().__init__(max_length=32, widget=forms.TextInput(attrs=attributes), **kwargs)

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if text in self.empty_values:
            return None
        amount = parse_credits(text)
        if amount is None:
            raise forms.ValidationError("A decimal with at most 10 digits before and 8 after the point.")
        if self.positive and amount <= ZERO:
            raise forms.ValidationError("Must be above 0.")
        return amount


class CorrectionForm(forms.Form):
    """`confirmed` is empty until staff have seen what it will come to."""

    token = forms.UUIDField(widget=forms.HiddenInput, initial=uuid7)
    reason = forms.CharField(max_length=REASON_MAX, widget=forms.TextInput(attrs={"size": 80}),
                             help_text="Kept in the ledger for ever.")  # fmt: skip

    field_order: list[str] | None = None

    def asked(self) -> dict[str, Any]:
        """What the ledger is told: the fields but for the token."""
        return {name: value for name, value in self.cleaned_data.items() if name != "token" and value not in (None, "")}


class GrantForm(CorrectionForm):
    amount = CreditsFormField(positive=True)
    kind = forms.ChoiceField(choices=GIVEN_KINDS, initial="promo", help_text="A purchase is a top-up in the ledger.")
    priority = forms.IntegerField(min_value=0, max_value=100, initial=50, help_text="Lower is burnt first.")
    expires_at = forms.SplitDateTimeField(
        required=False, widget=AdminSplitDateTime(attrs={"aria-label": "Expires at"}), help_text="UTC; empty: never."
    )
    campaign = forms.CharField(max_length=64, required=False)
    aliases = forms.MultipleChoiceField(
        required=False, help_text="What it may pay for; none chosen: everything.", choices=list
    )
    field_order = ["amount", "kind", "reason", "expires_at", "priority", "campaign", "aliases"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices: Any = self.fields["aliases"]
        choices.choices = [(alias, alias) for alias in sorted(price_cache.latest().models)]

    def clean_expires_at(self) -> datetime | None:
        value: datetime | None = self.cleaned_data["expires_at"]
        if value is not None and value <= timezone.now():
            raise forms.ValidationError("Must lie in the future.")
        return value


class AdjustForm(CorrectionForm):
    amount = CreditsFormField(positive=False, help_text="Signed: -2.5 takes credits away, and may overdraw.")
    field_order = ["amount", "reason"]

    def clean_amount(self) -> Decimal:
        amount: Decimal = self.cleaned_data["amount"]
        if amount == ZERO:
            raise forms.ValidationError("An adjustment moves something.")
        return amount


class RefundForm(CorrectionForm):
    what = forms.ChoiceField(choices=[("entry", "this debit")], widget=forms.RadioSelect, initial="entry")
    amount = CreditsFormField(positive=True, required=False, help_text="Empty: all that is left to refund.")
    field_order = ["what", "amount", "reason"]

    def __init__(self, *args: Any, turn_id: UUID | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices: Any = self.fields["what"]
        if turn_id is not None:
            choices.choices = [("entry", "this debit"), ("turn", "the whole turn that it was for")]


class VoidForm(CorrectionForm):
    pass
