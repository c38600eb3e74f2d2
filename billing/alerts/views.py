"""`/users/me/alerts` and `/users/me/webhooks`."""

from __future__ import annotations

from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.alerts import endpoints, preferences
from billing.alerts.serializers import AlertSettings, DeliveryOut, NewWebhookOut, WebhookIn, WebhookOut
from billing.models import AlertDelivery, WebhookEndpoint
from config.core.callers import caller_id
from config.core.openapi import problems
from users.permissions import IsNoMachineToWrite

_REFUSALS = problems("401 not_authenticated", "403 permission_denied", "422 validation_error")


class AlertSettingsView(APIView):
    permission_classes = [IsAuthenticated, IsNoMachineToWrite]

    @extend_schema(operation_id="alert_settings", responses={200: AlertSettings, **problems("401 not_authenticated")})
    def get(self, request: Request) -> Response:
        """How you are told of your credits, besides your webhooks."""
        return Response({"email": preferences.wants_mail(caller_id(request))})

    @extend_schema(
        operation_id="change_alert_settings",
        request=AlertSettings,
        responses={
            200: AlertSettings,
            **problems("401 not_authenticated", "403 permission_denied", "422 validation_error"),
        },
    )
    def patch(self, request: Request) -> Response:
        """Switch mails off or on."""
        body = AlertSettings(data=request.data)
        body.is_valid(raise_exception=True)
        preferences.set_mail(caller_id(request), is_wanted=body.validated_data["email"])
        return Response(body.validated_data)


class WebhooksView(GenericAPIView[WebhookEndpoint]):
    permission_classes = [IsAuthenticated, IsNoMachineToWrite]
    serializer_class = WebhookOut

    @extend_schema(operation_id="webhooks", responses={200: WebhookOut(many=True), **problems("401 not_authenticated")})
    def get(self, request: Request) -> Response:
        """Your webhooks, newest first; secrets are not shown again."""
        page = self.paginate_queryset(endpoints.endpoints_of(caller_id(request)))
        return self.get_paginated_response(WebhookOut(page or [], many=True).data)

    @extend_schema(
        operation_id="make_webhook",
        request=WebhookIn,
        responses={
            201: NewWebhookOut,
            **problems("401 not_authenticated", "403 permission_denied", "422 validation_error"),
        },
    )
    def post(self, request: Request) -> Response:
        """Have alerts sent to a URL, signed with a secret that is shown this once."""
        body = WebhookIn(data=request.data)
        body.is_valid(raise_exception=True)
        made = endpoints.make_endpoint(user_id=caller_id(request), **body.validated_data)
        return Response({**WebhookOut(made.row).data, "secret": made.secret}, status=201)


class WebhookView(APIView):
    permission_classes = [IsAuthenticated, IsNoMachineToWrite]

    @extend_schema(
        operation_id="webhook", responses={200: WebhookOut, **problems("401 not_authenticated", "404 not_found")}
    )
    def get(self, request: Request, webhook_id: UUID) -> Response:
        """One of your webhooks."""
        return Response(WebhookOut(endpoints.endpoint_of(caller_id(request), webhook_id)).data)

    @extend_schema(
        operation_id="delete_webhook",
        request=None,
        responses={204: None, **problems("401 not_authenticated", "403 permission_denied", "404 not_found")},
    )
    def delete(self, request: Request, webhook_id: UUID) -> Response:
        """Delete a webhook and the record of its deliveries."""
        endpoints.delete_endpoint(user_id=caller_id(request), endpoint_id=webhook_id)
        return Response(status=204)


class WebhookTestView(APIView):
    permission_classes = [IsAuthenticated, IsNoMachineToWrite]

    @extend_schema(
        operation_id="test_webhook",
        request=None,
        responses={
            202: DeliveryOut,
            **problems("401 not_authenticated", "403 permission_denied", "404 not_found", "409 webhook_disabled"),
        },
    )
    def post(self, request: Request, webhook_id: UUID) -> Response:
        """Send a `ping`, once, in the background. What came of it stands in the deliveries."""
        delivery = endpoints.ping(user_id=caller_id(request), endpoint_id=webhook_id)
        return Response(DeliveryOut(delivery).data, status=202)


class DeliveriesView(GenericAPIView[AlertDelivery]):
    serializer_class = DeliveryOut

    @extend_schema(
        operation_id="webhook_deliveries",
        responses={200: DeliveryOut(many=True), **problems("401 not_authenticated", "404 not_found")},
    )
    def get(self, request: Request, webhook_id: UUID) -> Response:
        """What was sent to a webhook, newest first."""
        page = self.paginate_queryset(endpoints.deliveries_of(caller_id(request), webhook_id))
        return self.get_paginated_response(DeliveryOut(page or [], many=True).data)
