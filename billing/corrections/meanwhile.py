"""Two at one wallet: what somebody else posted after a correction was looked at is seen before it is done."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from billing.corrections.journal import described
from billing.locks import lock_wallet
from billing.models import CreditTransaction
from config.core.errors import ValidationFailed

# What happens by itself all day is no reason to look again.
_BY_ITSELF = (CreditTransaction.Kind.DEBIT, CreditTransaction.Kind.EXPIRY)


def unless_corrected(make: Callable[[], UUID], *, user_id: UUID, since: int | None) -> Callable[[], UUID]:
    """`make`, but refused where the wallet was granted to, refunded, adjusted or voided after entry `since`.

    Locks:       the wallet row, before it looks, so that of two at once the second sees the first.
    Raises:      ValidationFailed, and what `make` raises.
    """

    def made() -> UUID:
        wallet = None if since is None else lock_wallet(user_id)
        if wallet is not None:
            entries = CreditTransaction.objects.filter(wallet_id=wallet.id, seq__gt=since)
            newest = entries.exclude(kind__in=_BY_ITSELF).order_by("-seq").first()
            if newest is not None:
                raise ValidationFailed(
                    f"Posted since you looked: {described(newest)}, entry {newest.seq} ({newest.reason})."
                    " Look once more before you do this, too.",
                    field="token",
                    error_code="corrected_meanwhile",
                )
        return make()

    return made
