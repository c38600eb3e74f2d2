"""`/users/me/api-keys`: keys for machines."""

from __future__ import annotations

from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import generics
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.core.openapi import problems
from config.core.paging import KeysetPagination
from users import api_keys
from users.models import ApiKey
from users.permissions import IsNoMachine, caller
from users.serializers import ApiKeyInput, ApiKeyOutput, IssuedKeyOutput

_REFUSED = ("401 not_authenticated", "401 token_invalid", "403 permission_denied")


class ApiKeysView(generics.GenericAPIView[ApiKey]):
    permission_classes = [IsAuthenticated, IsNoMachine]
    pagination_class = KeysetPagination
    serializer_class = ApiKeyOutput

    @extend_schema(operation_id="api_keys", responses={200: ApiKeyOutput(many=True), **problems(*_REFUSED)})
    def get(self, request: Request) -> Response:
        """The keys that you have not revoked, newest first; the keys themselves are not shown again."""
        page = self.paginate_queryset(api_keys.keys_of(caller(request)))
        return self.get_paginated_response(ApiKeyOutput(page or [], many=True).data)

    @extend_schema(
        operation_id="make_api_key",
        request=ApiKeyInput,
        responses={201: IssuedKeyOutput, **problems("400 malformed_json", *_REFUSED, "422 validation_error")},
    )
    def post(self, request: Request) -> Response:
        """Make a key for a machine. It goes into `Authorization: Bearer <key>` and is shown this once."""
        body = ApiKeyInput(data=request.data)
        body.is_valid(raise_exception=True)
        issued = api_keys.issue(caller(request), **body.validated_data)
        return Response({**ApiKeyOutput(issued.row).data, "key": issued.key}, status=201)


class ApiKeyView(APIView):
    permission_classes = [IsAuthenticated, IsNoMachine]

    @extend_schema(
        operation_id="revoke_api_key", request=None, responses={204: None, **problems(*_REFUSED, "404 not_found")}
    )
    def delete(self, request: Request, key_id: UUID) -> Response:
        """Revoke a key, at once."""
        api_keys.revoke(caller(request), key_id)
        return Response(status=204)
