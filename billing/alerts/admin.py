"""Alerts in the admin: what was said to whom, and the webhooks that are told of everybody's."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from billing.alerts import endpoints, outbox
from billing.models import Alert, AlertDelivery, WebhookEndpoint
from billing.read_only_admin import GrowingTableAdmin
from config.core.errors import ValidationFailed
from users.staff_log import ADDITION, DELETION, LoggedByServices, record


@admin.register(Alert)
class AlertAdmin(GrowingTableAdmin):
    list_display = ("created_at", "owner", "kind", "balance", "threshold", "expires_at", "remaining", "fanned_out_at")
    search_filters = ("kind",)
    find_by = ("user_id", "grant_id", "id")
    search_help_text = "user (id or e-mail), lot id or alert id"


@admin.register(AlertDelivery)
class DeliveryAdmin(GrowingTableAdmin):
    list_display = (
        "created_at", "owner", "alert", "endpoint", "status", "attempts", "last_error", "next_attempt_at",
        "delivered_at",
    )  # fmt: skip
    list_select_related = ("alert", "endpoint")
    search_filters = ("status",)
    find_by = ("id", "endpoint_id", "user_id", "alert_id")
    search_help_text = "webhook-id, webhook's id, user (id or e-mail; their mails) or alert's id"
    actions = ("send_again",)  # type: ignore[assignment]

    def found_by(self, queryset: QuerySet[Any], column: str, value: Any) -> QuerySet[Any]:
        # Of a user: the mails, which have an index. A user's webhooks are found by their own ids.
        mails = {"endpoint": None} if column == "user_id" else {}
        return super().found_by(queryset.filter(**mails), column, value)

    @admin.action(description="Send the selected again", permissions=["send_again"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[AlertDelivery]) -> None:
        count = outbox.send_again(queryset, actor=request.user.pk)
        self.message_user(request, f"{count} deliveries are due again; pings and what waits already are left as is.")

    def has_send_again_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("billing.change_alertdelivery")


class EndpointForm(forms.ModelForm):  # type: ignore[type-arg]
    kinds = forms.MultipleChoiceField(
        choices=Alert.Kind.choices,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="None: all, whatever will be added.",
    )

    class Meta:
        model = WebhookEndpoint
        fields = ("url", "kinds")

    def clean_url(self) -> str:
        url = str(self.cleaned_data["url"])
        try:
            endpoints.check_url(url)
        except ValidationFailed as refusal:
            raise forms.ValidationError(refusal.detail) from None
        return url


@admin.register(WebhookEndpoint)
class EndpointAdmin(LoggedByServices, GrowingTableAdmin):
    """Users make their own over the API. One that is made here has no user, and is told of everybody's alerts."""

    form = EndpointForm
    list_display = ("created_at", "owner", "url", "kinds", "secret_prefix", "failing_since", "disabled_at")
    find_by = ("id", "user_id")
    search_help_text = "webhook's id or user (id or e-mail)"

    @admin.display(description="user", ordering="user_id")
    def owner(self, row: Any) -> str:
        return "everybody" if row.user_id is None else super().owner(row)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        shown = ("user_id", "secret_prefix", "busy_until", "failing_since", "disabled_at", "created_at")
        return ("url", "kinds") if obj is None else ("url", "kinds", *shown)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("billing.add_webhookendpoint")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("billing.delete_webhookendpoint")

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """The deliveries go with their endpoint; nobody has the permission to delete one by itself."""
        deleted, counts, _, protected = super().get_deleted_objects(objs, request)
        return deleted, counts, set(), protected

    def save_model(self, request: HttpRequest, obj: WebhookEndpoint, form: Any, change: bool) -> None:
        # Until the answer is made, and nowhere else.
        obj.secret_shown_once = endpoints.store(obj).secret  # type: ignore[attr-defined]
        record(obj, f"Webhook for everybody's alerts to {obj.url}: made.", actor=request.user.pk, flag=ADDITION)

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """A page with the secret instead of a redirect, which would have to carry it in a cookie."""
        context = {**self.admin_site.each_context(request), "title": "Webhook made", "opts": self.opts, "endpoint": obj}
        response = TemplateResponse(request, "admin/billing/webhookendpoint/made.html", context)
        response["Cache-Control"] = "no-store"
        return response

    def delete_model(self, request: HttpRequest, obj: WebhookEndpoint) -> None:
        with transaction.atomic():
            record(obj, f"{obj}: deleted.", actor=request.user.pk, flag=DELETION)
            endpoints.delete_endpoints(WebhookEndpoint.objects.filter(pk=obj.pk))
