"""Spending limits in the admin: all are seen; those of staff are made, changed and deleted, as over HTTP."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from billing.corrections.forms import CreditsFormField
from billing.limits import services
from billing.limits.subjects import is_of_user
from billing.models import SpendingLimit
from billing.read_only_admin import with_owner
from billing.refusals import or_said
from billing.serializers import is_zone
from config.core.admin_lists import KeysetAdmin
from users.models import User
from users.staff_log import LoggedByServices


class NewLimitForm(forms.ModelForm):  # type: ignore[type-arg]
    """For a whole user no subject id is named."""

    email = forms.EmailField(label="User", help_text="The e-mail of an account.")
    subject = forms.ChoiceField(choices=SpendingLimit.Subject.choices, initial="user")
    subject_id = forms.UUIDField(required=False, help_text="Of the room, agent or key; empty for the whole user.")
    amount = CreditsFormField(positive=False, help_text="Credits; 0 lets nothing through.")
    tz = forms.CharField(label="Time zone", initial="UTC", help_text="IANA, such as Europe/Berlin.")

    class Meta:
        model = SpendingLimit
        fields = ("email", "subject", "subject_id", "period", "amount", "tz")

    def clean_email(self) -> UUID:
        user = User.objects.with_address(self.cleaned_data["email"]).first()
        if user is None:
            raise forms.ValidationError("There is no such user.")
        return UUID(str(user.pk))

    def clean_tz(self) -> str:
        name: str = self.cleaned_data["tz"]
        if not is_zone(name):
            raise forms.ValidationError("An IANA time zone, such as Europe/Berlin.")
        return name

    def clean_amount(self) -> Any:
        return _not_negative(self.cleaned_data["amount"])

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        user_id, subject = data.get("email"), data.get("subject")
        if user_id is None or subject is None:
            return data
        data["subject_id"] = user_id if subject == "user" else data.get("subject_id")
        if data["subject_id"] is None or not is_of_user(subject, user_id=user_id, subject_id=data["subject_id"]):
            self.add_error("subject_id", "This user has no such thing.")
            return data
        same = SpendingLimit.objects.filter(
            user_id=user_id, subject=subject, subject_id=data["subject_id"], period=data.get("period"),
            is_staff_set=True,
        )  # fmt: skip
        if same.exists():
            self.add_error(None, "There is such a limit; change that one.")
        return data


class LimitForm(forms.ModelForm):  # type: ignore[type-arg]
    amount = CreditsFormField(positive=False, help_text="Credits; 0 lets nothing through.")

    class Meta:
        model = SpendingLimit
        fields = ("amount",)

    def clean_amount(self) -> Any:
        return _not_negative(self.cleaned_data["amount"])


def _not_negative(amount: Any) -> Any:
    if amount is not None and amount < 0:
        raise forms.ValidationError("Must not be below 0.")
    return amount


@admin.register(SpendingLimit)
class SpendingLimitAdmin(LoggedByServices, KeysetAdmin):
    list_display = ("owner", "subject", "subject_id", "amount", "period", "tz", "spent", "period_start", "is_staff_set")
    list_filter = ("is_staff_set", "subject", "period")
    find_by = ("user_id",)
    search_help_text = "user (id or e-mail)"
    # Deleting many at once would go past the services.
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return with_owner(super().get_queryset(request))

    @admin.display(description="user", ordering="user_id")
    def owner(self, row: Any) -> str:
        return row.owner_email or str(row.user_id)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        kwargs["form"] = LimitForm if obj else NewLimitForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        if obj is None:
            return ("email", "subject", "subject_id", "period", "amount", "tz")
        return ("owner", "subject", "subject_id", "period", "tz", "amount", "spent", "period_start", "set_by")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return () if obj is None else tuple(name for name in self.get_fields(request, obj) if name != "amount")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or obj.is_staff_set)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or obj.is_staff_set)

    def save_model(self, request: HttpRequest, obj: SpendingLimit, form: Any, change: bool) -> None:
        set_by = str(request.user.pk)
        if change:
            services.change(obj, amount=form.cleaned_data["amount"], set_by=set_by)
            return
        data = dict(form.cleaned_data)
        made = services.create(user_id=data.pop("email"), set_by=set_by, is_staff_set=True, **data)
        obj.pk = made.pk
        obj.refresh_from_db()

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return or_said(request, partial(super().changeform_view, request, *args, **kwargs))

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return or_said(request, partial(super().delete_view, request, *args, **kwargs))

    def delete_model(self, request: HttpRequest, obj: SpendingLimit) -> None:
        services.delete(obj, deleted_by=str(request.user.pk))
