"""Spending limits, made and changed under the wallet's lock: so a limit begins with exactly what was charged before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Q, Sum
from django.db.models.functions import Now

from billing.ledger import get_or_create_wallet
from billing.ledger.limits import is_about, period_of, spent_by
from billing.ledger.states import Limit, Reference
from billing.limits.subjects import is_of_user
from billing.locks import read_claims, read_holdings, read_wallet
from billing.models import ChargedEvent, CreditWallet, SpendingLimit
from config.core.errors import NotFound, ValidationFailed
from config.core.ids import uuid7
from config.core.money import ZERO, ledger_text
from config.core.transactions import joined_atomic
from users.staff_log import ADDITION, CHANGE, DELETION, record

# Each is looked at when a turn of its user opens.
LIMITS_MAX = 100


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """A limit with what counts towards it now: `spent` in this period, `held` by what runs."""

    row: SpendingLimit
    spent: Decimal
    held: Decimal
    resets_at: datetime


def create(
    *, user_id: UUID, subject: str, subject_id: UUID, period: str, amount: Decimal, tz: str, set_by: str,
    is_staff_set: bool = False,
) -> SpendingLimit:  # fmt: skip
    """Cap what is charged for a subject. What was charged in the current period counts from the start.

    Units:       credits, >= 0, 8 places; 0 lets nothing through.
    Locks:       the wallet row.
    Idempotent:  no: one limit a subject, period and setter.
    Keeps:       L11.
    Raises:      NotFound where the subject is not this user's, ValidationFailed where there is such a limit already.
    """
    if not is_of_user(subject, user_id=user_id, subject_id=subject_id):
        raise NotFound
    with joined_atomic():
        wallet = get_or_create_wallet(user_id=user_id)
        now = read_holdings(wallet, None).now
        limits = SpendingLimit.objects.filter(user_id=user_id)
        same = limits.filter(subject=subject, subject_id=subject_id, period=period, is_staff_set=is_staff_set)
        if same.exists():
            raise ValidationFailed("There is such a limit; change that one.", field="subject_id", error_code="unique")
        if limits.filter(is_staff_set=is_staff_set).count() >= LIMITS_MAX:
            raise ValidationFailed(f"At most {LIMITS_MAX} limits.", field="subject_id", error_code="too_many")
        row = SpendingLimit(
            user_id=user_id, subject=subject, subject_id=subject_id, period=period, amount=amount, tz=tz,
            is_staff_set=is_staff_set, set_by=set_by,
        )  # fmt: skip
        row.period_start, _ = period_of(period, tz, now)
        row.spent = charged_since(row, row.period_start)
        row.save(force_insert=True)
        CreditWallet.objects.filter(user_id=user_id).update(has_limits=True)
        _say(row, f"{_named(row)}: set to {ledger_text(amount)}.", actor=set_by, flag=ADDITION)
        return row


def change(limit: SpendingLimit, *, amount: Decimal, set_by: str) -> SpendingLimit:
    """Set another amount, from the next call on. What running work holds already goes on.

    Locks:       the wallet row.
    Idempotent:  yes.
    """
    with joined_atomic():
        get_or_create_wallet(user_id=limit.user_id)
        row = SpendingLimit.objects.filter(id=limit.id).first()
        if row is None:
            raise NotFound
        SpendingLimit.objects.filter(id=limit.id).update(amount=amount, set_by=set_by, updated_at=Now())
        _say(row, f"{_named(row)}: {ledger_text(row.amount)} → {ledger_text(amount)}.", actor=set_by)
        limit.refresh_from_db()
        return limit


def delete(limit: SpendingLimit, *, deleted_by: str) -> None:
    """Locks: the wallet row. Idempotent."""
    with joined_atomic():
        get_or_create_wallet(user_id=limit.user_id)
        deleted, _ = SpendingLimit.objects.filter(id=limit.id).delete()
        if deleted:
            message = f"{_named(limit)}: {ledger_text(limit.amount)} taken away."
            _say(limit, message, actor=deleted_by, flag=DELETION)
        left = SpendingLimit.objects.filter(user_id=limit.user_id).exists()
        CreditWallet.objects.filter(user_id=limit.user_id).update(has_limits=left)


def status_of(user_id: UUID) -> list[LimitStatus]:
    """All limits of a user, oldest first, with where they stand. Reads without any lock, and writes nothing."""
    rows = list(SpendingLimit.objects.filter(user_id=user_id).order_by("id"))
    wallet = read_wallet(user_id)
    if wallet is None:
        return []
    now = read_holdings(wallet, None).now
    others = read_claims(wallet, Reference("none", uuid7())).others
    found = []
    for row in rows:
        limit = _as_limit(row)
        held = sum(
            (
                share.amount
                for hold in others
                for share in hold.shares
                if is_about(limit, user_id=user_id, agent_id=share.agent_id, place=hold.place)
            ),
            ZERO,
        )
        found.append(LimitStatus(row, spent_by(limit, now), held, period_of(row.period, row.tz, now)[1]))
    return found


def charged_since(limit: SpendingLimit, start: datetime) -> Decimal:
    """What calls of the limit's subject were charged since then, from the events themselves."""
    about: dict[str, Any] = {"user": {}, "room": {"room_id": limit.subject_id}, "agent": {"agent_id": limit.subject_id},
                             "api_key": {"api_key_id": limit.subject_id}}[limit.subject]  # fmt: skip
    events = ChargedEvent.objects.filter(Q(**about), user_id=limit.user_id, created_at__gte=start)
    return events.aggregate(sum=Sum("credits_charged"))["sum"] or ZERO


def _named(row: SpendingLimit) -> str:
    return f"Limit a {row.period} ({row.tz}) of {row.get_subject_display()} {row.subject_id}"


def _say(row: SpendingLimit, message: str, *, actor: str, flag: int = CHANGE) -> None:
    """What staff set is staff's doing; what a user sets of their own is nobody else's business."""
    if row.is_staff_set:
        record(row, message, actor=actor, flag=flag)


def _as_limit(row: SpendingLimit) -> Limit:
    return Limit(
        row.id, row.subject, row.subject_id, row.period, row.amount, row.tz, row.spent, row.period_start
    )  # fmt: skip
