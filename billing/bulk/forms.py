"""The form of a bulk grant. The list travels with it, from the upload to the confirmation."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminSplitDateTime
from django.utils import timezone

from billing.bulk.emails import FILE_MAX_BYTES, ROWS_MAX, Row, Unreadable, read, text_of
from billing.bulk.granting import CAMPAIGN_MAX, Campaign
from billing.corrections.forms import GIVEN_KINDS, CreditsFormField
from billing.corrections.serializers import REASON_MAX


class BulkGrantForm(forms.Form):
    file = forms.FileField(
        required=False, label="E-mails", widget=forms.FileInput(attrs={"accept": ".csv,.txt,text/csv,text/plain"}),
        help_text=f"CSV or one address a line, UTF-8; at most {ROWS_MAX:,} rows and {FILE_MAX_BYTES:,} bytes. "
        "The column is called “email”, or it is the first with an address.",
    )  # fmt: skip
    # What was uploaded, for the confirmation: nothing of it is stored meanwhile.
    content = forms.CharField(required=False, strip=False, widget=forms.HiddenInput)
    amount = CreditsFormField(positive=True, help_text="Credits, to each.")
    kind = forms.ChoiceField(choices=GIVEN_KINDS, initial="promo", help_text="A purchase is a top-up in the ledger.")
    campaign = forms.CharField(
        max_length=CAMPAIGN_MAX, help_text="Everybody gets it once from a campaign, however often this is run."
    )
    expires_at = forms.SplitDateTimeField(
        required=False, widget=AdminSplitDateTime(attrs={"aria-label": "Expires at"}), help_text="UTC; empty: never."
    )
    reason = forms.CharField(
        max_length=REASON_MAX, widget=forms.TextInput(attrs={"size": 80}), help_text="Kept in the ledger for ever."
    )

    def clean_expires_at(self) -> datetime | None:
        value: datetime | None = self.cleaned_data["expires_at"]
        if value is not None and value <= timezone.now():
            raise forms.ValidationError("Must lie in the future.")
        return value

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        file, content = data.get("file"), data.get("content") or ""
        if file is None and not content:
            self.add_error("file", "Choose a file.") if "file" not in self.errors else None
            return data
        try:
            # One byte more than is taken tells that there is more.
            raw = content.encode("utf-8") if file is None else file.read(FILE_MAX_BYTES + 1)
            data["rows"] = read(raw)
            data["content"] = text_of(raw)
        except Unreadable as refusal:
            self.add_error("file", str(refusal))
        return data

    @property
    def rows(self) -> list[Row]:
        found: list[Row] = self.cleaned_data["rows"]
        return found

    def campaign_asked(self) -> Campaign:
        data = self.cleaned_data
        return Campaign(data["campaign"], data["amount"], data["kind"], data["reason"], data["expires_at"])
