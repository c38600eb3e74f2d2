"""What billing's views do beyond parsing: one function a request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import OperationalError
from django.http import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer

from billing import enforcement, reports
from billing.csv_export import stream_csv
from billing.errors import WalletBusy
from billing.models import CreditTransaction
from billing.serializers import TransactionOut, UsageOut, UsageSumsOut
from config.core.callers import caller_id
from config.core.errors import NotFound
from config.core.idempotency import claim_of, once
from config.core.transactions import LOCK_TIMEOUT_SQLSTATE, retrying, sqlstate


def wallet_of_user(user_id: UUID, *, must_exist: bool = False) -> dict[str, Any]:
    """A wallet as its owner sees it. Raises: NotFound where `must_exist` and there is no such user."""
    if must_exist and not get_user_model().objects.filter(pk=user_id).exists():
        raise NotFound
    summary = reports.wallet_summary(user_id=user_id)
    return {
        "balance": summary.balance,
        "held": summary.held,
        "available": summary.available,
        "low_balance": summary.low_balance,
        "enforcement": enforcement.current(),
        "grants": summary.grants,
        "updated_at": summary.updated_at,
    }


def move_credits(
    request: Request, *, user_id: UUID, serializer: type[Serializer[Any]], move: Callable[..., UUID]
) -> Response:
    """A staff member's grant or correction, once per Idempotency-Key; 201 with the entry, also when replayed.

    Raises: NotFound, WalletBusy, IdempotencyKeyReused, ValidationFailed.
    """
    claim = claim_of(request)
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

    try:
        entry, replayed = retrying(
            lambda: once(
                claim, resource_type="entry", make=make, load=lambda id_: CreditTransaction.objects.get(id=id_)
            )
        )
    except OperationalError as error:
        if sqlstate(error) == LOCK_TIMEOUT_SQLSTATE:
            raise WalletBusy from None
        raise
    headers = {"Idempotency-Replayed": "true"} if replayed else {}
    return Response(TransactionOut(entry).data, status=201, headers=headers)


def usage_csv(report: dict[str, Any], group_by: tuple[str, ...]) -> HttpResponseBase:
    """The breakdown as CSV, with a last row of totals."""
    sums = list(UsageSumsOut().get_fields())
    shown = UsageOut(report).data
    rows = [[row.get(name) for name in (*group_by, *sums)] for row in shown["breakdown"]]
    total = ["total", *[""] * (len(group_by) - 1), *[shown["totals"][name] for name in sums]]
    return stream_csv(filename="usage.csv", header=[*group_by, *sums], page=lambda _: ([*rows, total], None))
