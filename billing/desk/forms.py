"""What the desk is asked for: days of a time zone, both included, and optionally one user or alias."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.contrib.auth import get_user_model
from django.utils import timezone

from billing.desk.pieces import Asked
from billing.reports.buckets import BUCKETS, BUCKETS_MAX, TooManyBuckets, bucket_starts
from billing.serializers import is_zone

DAYS = 30
_ZONE = forms.TextInput(attrs={"list": "zones", "placeholder": "UTC"})
_BUCKETS = [("", "as fits"), *((name, name) for name in BUCKETS)]
_DATE = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")


class DeskForm(forms.Form):
    first = forms.DateField(label="From", required=False, widget=_DATE)
    last = forms.DateField(label="To, included", required=False, widget=_DATE)
    tz = forms.CharField(label="Time zone", required=False, max_length=64, widget=_ZONE)
    bucket = forms.ChoiceField(label="By", required=False, choices=_BUCKETS)
    user = forms.CharField(label="User", required=False, max_length=254, help_text="e-mail or id")
    alias = forms.CharField(label="Alias", required=False, max_length=64)

    def clean_tz(self) -> ZoneInfo:
        name = self.cleaned_data["tz"] or "UTC"
        if not is_zone(name):
            raise forms.ValidationError("An IANA time zone, such as Europe/Berlin.")
        return ZoneInfo(name)

    def clean_user(self) -> Any:
        asked = self.cleaned_data["user"].strip()
        if not asked:
            return None
        users: Any = get_user_model()._default_manager
        # Folded and indexed by the manager; `iexact` would read all users.
        found = (users.with_address(asked) if "@" in asked else users.filter(pk=_id(asked))).first()
        if found is None:
            raise forms.ValidationError("There is no such user.")
        return found.pk

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if self.errors:
            return cleaned
        last = cleaned["last"] or timezone.now().astimezone(cleaned["tz"]).date()
        try:
            first = cleaned["first"] or last - timedelta(days=DAYS - 1)
            if first > last:
                raise forms.ValidationError({"first": "Must not lie after the last day."})
            bucket = cleaned["bucket"] or fitting_bucket(first, last)
            start, end = midnight(first, cleaned["tz"]), midnight(last + timedelta(days=1), cleaned["tz"])
            bucket_starts(start=start, end=end, tz=cleaned["tz"], bucket=bucket)
        except OverflowError:
            raise forms.ValidationError({"first": "Out of range."}) from None
        except TooManyBuckets:
            raise forms.ValidationError({"bucket": f"More than {BUCKETS_MAX} rows; take larger ones."}) from None
        return {**cleaned, "first": first, "last": last, "bucket": bucket, "start": start, "end": end}

    def asked(self, *, limit: int) -> Asked:
        """Of a valid form."""
        cleaned = self.cleaned_data
        return Asked(
            start=cleaned["start"], end=cleaned["end"], tz=cleaned["tz"], bucket=cleaned["bucket"],
            user_id=cleaned["user"], model_alias=cleaned["alias"] or None, limit=limit,
        )  # fmt: skip


def midnight(day: date, tz: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), tz)


def fitting_bucket(first: date, last: date) -> str:
    days = (last - first).days + 1
    for most, bucket in ((2, "hour"), (92, "day"), (731, "week")):
        if days <= most:
            return bucket
    return "month"


def presets(today: date) -> list[tuple[str, date, date]]:
    """Names for spans of days that are often looked at."""
    month = today.replace(day=1)
    month_before = (month - timedelta(days=1)).replace(day=1)
    return [
        ("Today", today, today),
        ("7 days", today - timedelta(days=6), today),
        ("30 days", today - timedelta(days=29), today),
        ("90 days", today - timedelta(days=89), today),
        ("This month", month, today),
        ("Last month", month_before, month - timedelta(days=1)),
    ]


def _id(text: str) -> Any:
    try:
        return forms.UUIDField().clean(text)
    except forms.ValidationError:
        return None
