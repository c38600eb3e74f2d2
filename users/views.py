"""`/auth`: sign up, log in, log out, who am I."""

from __future__ import annotations

from functools import partial

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotAuthenticated
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.core.openapi import problems
from users import services
from users.authentication import SCHEME
from users.login_limits import limited_login
from users.permissions import caller
from users.serializers import LoginInput, RegisterInput, TokenOutput, UserOutput

_BAD_BODY = ("400 malformed_json", "413 request_too_large", "422 validation_error")
_UNKNOWN_CALLER = ("401 not_authenticated", "401 token_invalid")


class PublicView(APIView):
    """Open to all. A stale token in the header does no harm, because nobody looks at it."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    def get_authenticate_header(self, request: Request) -> str:
        # Without an authenticator DRF would turn our 401 into a 403.
        return SCHEME


class RegisterView(PublicView):
    @extend_schema(
        operation_id="auth_register",
        summary="Make an account",
        request=RegisterInput,
        responses={201: UserOutput, **problems("403 signup_disabled", *_BAD_BODY)},
    )
    def post(self, request: Request) -> Response:
        """Only where the operator allows sign-up (`AUTH_ALLOW_SIGNUP`)."""
        services.ensure_signup_is_open()
        body = RegisterInput(data=request.data)
        body.is_valid(raise_exception=True)
        user = services.register(**body.validated_data)
        return Response(UserOutput(user).data, status=201)


class TokenView(PublicView):
    @extend_schema(
        operation_id="auth_token",
        summary="Log in",
        request=LoginInput,
        responses={200: TokenOutput, **problems("401 not_authenticated", *_BAD_BODY, "429 rate_limited")},
    )
    def post(self, request: Request) -> Response:
        """The token goes into `Authorization: Bearer <token>`. It is shown this once. Failures are limited."""
        body = LoginInput(data=request.data)
        body.is_valid(raise_exception=True)
        data = body.validated_data
        issued = limited_login(
            partial(services.log_in, **data), email=data["email"], address=request.META.get("REMOTE_ADDR", "")
        )
        if issued is None:
            raise NotAuthenticated("The e-mail address or the password is wrong.")
        return Response(TokenOutput(issued).data)


class LogoutView(APIView):
    @extend_schema(
        operation_id="auth_logout",
        summary="Revoke the presented token",
        request=None,
        responses={204: None, **problems(*_UNKNOWN_CALLER, "422 validation_error")},
    )
    def post(self, request: Request) -> Response:
        """Other tokens of the same user live on. A token of an outside identity provider cannot be revoked here."""
        services.log_out(request.auth)
        return Response(status=204)


class MeView(APIView):
    @extend_schema(
        operation_id="auth_me",
        summary="Who am I?",
        responses={200: UserOutput, **problems(*_UNKNOWN_CALLER, "503 identity_provider_unavailable")},
    )
    def get(self, request: Request) -> Response:
        """The first valid token of an outside identity provider makes the user."""
        return Response(UserOutput(caller(request)).data)
