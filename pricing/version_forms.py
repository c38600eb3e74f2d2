"""The forms by which a version is cloned, scheduled, activated, taken back and rolled back to."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminSplitDateTime
from django.utils import timezone

from pricing.models import VERSION_PATTERN, PricingVersion

_NOTE_MAX = 2000


class CloneForm(forms.Form):
    version = forms.RegexField(
        rf"\A{VERSION_PATTERN}\Z",
        max_length=64,
        label="Name",
        help_text="Turns, events and history refer to it; it never changes.",
        error_messages={
            "invalid": "Letters, digits and punctuation only, first a letter or digit, at most 64 characters."
        },
    )
    note = forms.CharField(
        required=False, max_length=_NOTE_MAX, widget=forms.TextInput(attrs={"size": 60}), help_text="Why it is made."
    )


class ActForm(forms.Form):
    """Knows what the page showed: the version's revision, and which version at which revision it was compared with."""

    act = forms.ChoiceField(choices=[(act, act) for act in ("schedule", "unschedule", "activate", "rollback")])
    seen_revision = forms.IntegerField(widget=forms.HiddenInput)
    replaces = forms.CharField(widget=forms.HiddenInput, max_length=64)
    replaces_revision = forms.IntegerField(widget=forms.HiddenInput)
    effective_at = forms.SplitDateTimeField(
        required=False,
        widget=AdminSplitDateTime(attrs={"aria-label": "In force from"}),
        label="In force from",
        help_text="UTC, in the future.",
    )
    note = forms.CharField(required=False, max_length=_NOTE_MAX, widget=forms.TextInput(attrs={"size": 60}))

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        moment: datetime | None = data.get("effective_at")
        if data.get("act") == "schedule" and "effective_at" not in self.errors:
            if moment is None:
                self.add_error("effective_at", "Say when it comes into force.")
            elif moment <= timezone.now():
                self.add_error("effective_at", "Must lie in the future; to bring it into force now, activate it.")
        return data


def acts_of(version: PricingVersion) -> tuple[str, ...]:
    """What may be done with a version in its state."""
    match version.status:
        case PricingVersion.Status.DRAFT:
            return ("schedule", "activate")
        case PricingVersion.Status.SCHEDULED:
            return ("schedule", "unschedule", "activate")
        case PricingVersion.Status.RETIRED if version.activated_at is not None:
            return ("rollback",)
    return ()
