"""Views that exist for tests only: each shows one way in which a request can end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import psycopg
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.core.async_views import AsyncAPIView
from config.core.errors import DomainError, NotFound
from config.core.fields import ClosedSerializer
from config.core.parsers import JSONParser

SECRET = "sk-what-no-answer-may-show"  # noqa: S105


class Teapot(DomainError):
    code, status, title = "teapot", 418, "A teapot"


def _raised_by_the_database(error: type[psycopg.Error]) -> OperationalError:
    """As Django raises it: around what the driver has raised, which knows the SQLSTATE."""
    raised = OperationalError(SECRET)
    raised.__cause__ = error(SECRET)
    return raised


ERRORS: dict[str, Exception] = {
    "bug": RuntimeError(SECRET),
    "teapot": Teapot("Short and stout.", retry_after_s=3, handle="left"),
    "not-found": NotFound(),
    "http404": Http404(SECRET),
    "database-away": OperationalError(SECRET),
    "connection-lost": InterfaceError(SECRET),
    "lock-timeout": _raised_by_the_database(psycopg.errors.LockNotAvailable),
    "deadlock": _raised_by_the_database(psycopg.errors.DeadlockDetected),
    "serialization": _raised_by_the_database(psycopg.errors.SerializationFailure),
    "shut-down": _raised_by_the_database(psycopg.errors.AdminShutdown),
    "throttled": Throttled(wait=7),
}


class Order(serializers.Serializer[Any]):
    size = serializers.ChoiceField(choices=["small", "large"])


class Orders(ClosedSerializer):
    name = serializers.CharField(max_length=5)
    orders = Order(many=True, required=False)


class OpenView(APIView):
    parser_classes = (JSONParser,)
    authentication_classes = ()
    permission_classes = (AllowAny,)


class OrdersView(OpenView):
    def post(self, request: Request) -> Response:
        orders = Orders(data=request.data)
        orders.is_valid(raise_exception=True)
        return Response(orders.validated_data)


class FailingView(OpenView):
    def get(self, request: Request, name: str) -> Response:
        raise ERRORS[name]


def failing_plain_view(request: HttpRequest) -> HttpResponse:
    raise RuntimeError(SECRET)


class NameAuthentication(BaseAuthentication):
    """`Authorization: Name alice` is alice; anybody else is refused."""

    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        name = request.META.get("HTTP_AUTHORIZATION", "").removeprefix("Name ")
        if not name:
            return None
        if name != "alice":
            raise AuthenticationFailed
        return SimpleNamespace(name=name, is_authenticated=True), None

    def authenticate_header(self, request: Request) -> str:
        return "Name"


class AsyncOrdersView(AsyncAPIView):
    parser_classes = (JSONParser,)
    authentication_classes = (NameAuthentication,)
    permission_classes = (IsAuthenticated,)

    async def get(self, request: Request) -> Response:
        name = await self.admitted(request, lambda: vars(request.user)["name"])
        return Response({"name": name})

    async def post(self, request: Request) -> Response:
        orders = Orders(data=request.data)
        await self.admitted(request, lambda: orders.is_valid(raise_exception=True))
        return Response(orders.validated_data, status=201)


class AsyncFailingView(AsyncAPIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)

    async def get(self, request: Request, name: str) -> Response:
        raise ERRORS[name]


class AsyncStreamView(AsyncAPIView):
    authentication_classes = (NameAuthentication,)
    permission_classes = (IsAuthenticated,)

    async def get(self, request: Request) -> StreamingHttpResponse:
        await self.admitted(request, lambda: None)

        async def events() -> Any:
            for number in (1, 2):
                yield f"id: {number}\n\n".encode()

        return StreamingHttpResponse(events(), content_type="text/event-stream")
