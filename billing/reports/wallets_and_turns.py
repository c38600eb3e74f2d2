"""What there is to read of one wallet and of single turns: balances, lots, a turn's bill."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Q, Sum
from django.utils import timezone

from billing.ledger.posting import burning_order
from billing.ledger.states import Lot
from billing.models import ChargedEvent, CreditGrant, CreditHold, CreditWallet, LLMCallEvent, ToolCallEvent
from config.core.money import ZERO


@dataclass(frozen=True, slots=True)
class WalletSummary:
    """A wallet as its owner sees it.

    Credits at 8 places. Expired lots are left out of `available` before they are posted.
    """

    balance: Decimal
    held: Decimal
    available: Decimal
    grants: list[CreditGrant]
    updated_at: datetime | None

    @property
    def low_balance(self) -> bool:
        return is_low(self.balance)

    @property
    def next_expiry(self) -> dict[str, Any] | None:
        """When something expires next, and how much of what remains today."""
        first = min((grant.expires_at for grant in self.grants if grant.expires_at), default=None)
        if first is None:
            return None
        return {
            "expires_at": first,
            "amount": sum((grant.remaining for grant in self.grants if grant.expires_at == first), ZERO),
        }


def is_low(balance: Decimal) -> bool:
    return bool(balance < settings.LOW_BALANCE_THRESHOLD)


def wallet_summary(*, user_id: UUID) -> WalletSummary:
    wallet = CreditWallet.objects.filter(user_id=user_id).first()
    if wallet is None:
        return WalletSummary(ZERO, ZERO, ZERO, [], None)
    now = timezone.now()
    lots = list(CreditGrant.objects.filter(user_id=user_id, remaining__gt=0))
    expired = sum((lot.remaining for lot in lots if lot.expires_at and lot.expires_at <= now), ZERO)
    free = wallet.balance - wallet.held
    available = free - min(expired, max(ZERO, free))
    live = [lot for lot in lots if lot.expires_at is None or lot.expires_at > now]
    live.sort(key=lambda g: burning_order(Lot(g.id, g.remaining, g.priority, g.expires_at, g.created_at)))
    return WalletSummary(wallet.balance, wallet.held, available, live, wallet.updated_at)


@dataclass(frozen=True, slots=True)
class TurnUsage:
    """What a turn used and what it cost, its tools included.

    `credits_burned` adds the events' 4 places, `credits_charged` the debits' 8.
    """

    llm_calls: int = 0
    input_tokens_fresh: int = 0
    input_tokens_cached: int = 0
    output_tokens: int = 0
    credits_burned: Decimal = ZERO
    credits_charged: Decimal = ZERO


def usage_of_turns(turn_ids: Iterable[UUID]) -> dict[UUID, TurnUsage]:
    """Usage per turn, for those that have been settled with at least one call."""
    rows = (
        ChargedEvent.objects.filter(turn_id__in=list(turn_ids))
        .values("turn_id")
        .annotate(
            llm_calls=Count("id", filter=~Q(purpose="tool")),
            fresh=Sum("input_tokens_fresh") + Sum("input_tokens_cache_write"),
            cached=Sum("input_tokens_cached"),
            output=Sum("output_tokens"),
            burned=Sum("credits_burned"),
            charged=Sum("credits_charged"),
        )
    )
    return {
        UUID(str(row["turn_id"])): TurnUsage(
            row["llm_calls"], row["fresh"], row["cached"], row["output"], row["burned"], row["charged"]
        )
        for row in rows
    }


def calls_of_turn(*, turn_id: UUID) -> list[LLMCallEvent]:
    """The calls of a settled turn, in order."""
    return list(LLMCallEvent.objects.filter(turn_id=turn_id).order_by("call_index"))


def tool_calls_of_turn(*, turn_id: UUID) -> list[ToolCallEvent]:
    """The calls of tools in a settled turn, in order."""
    return list(ToolCallEvent.objects.filter(turn_id=turn_id).order_by("call_index"))


def balances_after(*, reference_type: str, reference_ids: Iterable[UUID]) -> dict[UUID, Decimal]:
    """The balance that each closed hold left behind, as it was then."""
    holds = CreditHold.objects.filter(
        ~Q(status="open"), reference_type=reference_type, reference_id__in=list(reference_ids)
    )
    return {hold.reference_id: hold.balance_after for hold in holds if hold.balance_after is not None}


def summary_for_support(*, user_id: UUID) -> dict[str, Any]:
    """A wallet as staff see it: its owner's view, its open holds and where its chain stands."""
    wallet = CreditWallet.objects.filter(user_id=user_id).first()
    holds = CreditHold.objects.filter(user_id=user_id, status="open").order_by("id")
    return {
        "user_id": user_id,
        "wallet": wallet_summary(user_id=user_id),
        "wallet_id": wallet.id if wallet else None,
        "last_seq": wallet.last_seq if wallet else 0,
        "holds": list(holds),
    }
