from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from billing import ledger
from billing.corrections import services
from billing.corrections.journal import logged
from billing.corrections.serializers import AdjustIn, GrantIn, RefundIn, VoidIn
from billing.models import CreditTransaction
from billing.serializers import TransactionOut
from config.core.callers import caller_id
from config.core.errors import NotFound
from config.core.idempotency import claim_of
from config.core.openapi import problems
from users.permissions import IsStaffOrAdmin, require_permission

_KEY = OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER)
_MOVED = problems(
    "400 idempotency_key_malformed",
    "403 admin_required",
    "403 permission_denied",
    "404 not_found",
    "409 wallet_busy",
    "422 validation_error",
    "422 idempotency_key_reused",
)


class _CorrectionView(APIView):
    permission_classes = [IsStaffOrAdmin]

    def moved(
        self, request: Request, user_id: UUID, serializer: type[Serializer[Any]], move: Callable[..., UUID], title: str
    ) -> Response:
        """Once per Idempotency-Key; 201 with the entry, also when replayed."""
        claim = claim_of(request)
        before = services.posted_before(claim)
        if before is not None:
            return _entry(before, is_replay=True)
        body = serializer(data=request.data)
        body.is_valid(raise_exception=True)
        if not get_user_model().objects.filter(pk=user_id).exists():
            raise NotFound

        def make() -> UUID:
            return move(
                user_id=user_id,
                initiated_by=str(caller_id(request)),
                idempotency_key=claim.key if claim else None,
                **body.validated_data,
            )

        return _entry(*services.post_once(claim, logged(make, title=title, actor=str(caller_id(request)))))


def _entry(entry: CreditTransaction, is_replay: bool) -> Response:
    headers = {"Idempotency-Replayed": "true"} if is_replay else {}
    return Response(TransactionOut(entry).data, status=201, headers=headers)


class GrantView(_CorrectionView):
    @extend_schema(
        operation_id="admin_grant", request=GrantIn, parameters=[_KEY], responses={201: TransactionOut, **_MOVED}
    )
    def post(self, request: Request, user_id: UUID) -> Response:
        """Give a user credits as a lot of its own."""
        require_permission(request, "billing.add_creditgrant")
        return self.moved(request, user_id, GrantIn, ledger.grant, "Grant credits")


class AdjustView(_CorrectionView):
    @extend_schema(
        operation_id="admin_adjust", request=AdjustIn, parameters=[_KEY], responses={201: TransactionOut, **_MOVED}
    )
    def post(self, request: Request, user_id: UUID) -> Response:
        """Correct a balance by a signed amount."""
        require_permission(request, "billing.add_credittransaction")
        return self.moved(request, user_id, AdjustIn, ledger.adjust, "Adjust balance")


class RefundView(_CorrectionView):
    @extend_schema(
        operation_id="admin_refund",
        request=RefundIn,
        parameters=[_KEY],
        responses={201: TransactionOut, **_MOVED, **problems("409 refund_exceeds_debit")},
    )
    def post(self, request: Request, user_id: UUID) -> Response:
        """Give back what a turn or one debit took, or a part of it, into the lots that it came from."""
        require_permission(request, "billing.add_credittransaction")
        return self.moved(request, user_id, RefundIn, services.refund, "Refund")


class VoidView(APIView):
    permission_classes = [IsStaffOrAdmin]

    @extend_schema(
        operation_id="admin_void_grant",
        request=VoidIn,
        parameters=[_KEY],
        responses={201: TransactionOut, **_MOVED, **problems("409 nothing_to_void")},
    )
    def post(self, request: Request, grant_id: UUID) -> Response:
        """Take what remains of a grant out of its wallet. A grant that was voided before answers as it did then."""
        require_permission(request, "billing.change_creditgrant")
        claim = claim_of(request)
        before = services.posted_before(claim)
        if before is not None:
            return _entry(before, is_replay=True)
        body = VoidIn(data=request.data)
        body.is_valid(raise_exception=True)
        done = services.void_once(
            claim, grant_id=grant_id, reason=body.validated_data["reason"], initiated_by=str(caller_id(request))
        )
        return _entry(*done)
