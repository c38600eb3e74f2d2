"""The way to a wallet: staff name somebody, by the beginning of an e-mail address or an id."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from billing.models import CreditGrant, CreditTransaction, CreditWallet
from users.models import BYTEWISE_EMAIL, User

FOUND_MAX = 20


@dataclass(frozen=True, slots=True)
class Found:
    user: User
    wallet: CreditWallet | None


def find(text: str) -> tuple[list[Found], bool]:
    """At most FOUND_MAX users, by address; and whether there are more.

    An id may be a user's, a wallet's, an entry's or a lot's. All by indexes, nothing counted.
    """
    text = text.strip()
    if not text or "\x00" in text:
        return [], False
    try:
        users = list(User.objects.filter(pk=_owner(UUID(text))))
    except ValueError:
        users = list(User.objects.with_prefix(text).order_by(BYTEWISE_EMAIL)[: FOUND_MAX + 1])
    wallets = {
        wallet.user_id: wallet for wallet in CreditWallet.objects.filter(user_id__in=[user.pk for user in users])
    }
    return [Found(user, wallets.get(user.pk)) for user in users[:FOUND_MAX]], len(users) > FOUND_MAX


def _owner(id_: UUID) -> UUID:
    """Whose id it is, or whose thing it is the id of."""
    for model in (CreditWallet, CreditTransaction, CreditGrant):
        user_id = model.objects.filter(pk=id_).values_list("user_id", flat=True).first()
        if user_id is not None:
            return UUID(str(user_id))
    return id_
