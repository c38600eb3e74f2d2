"""Idempotency keys: same caller, key and request → the first outcome again, whatever the wallet holds by now.

A key is claimed in the transaction that writes what it stands for. So there is no key without an outcome, and a
refusal is not remembered.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from django.db import IntegrityError, transaction
from rest_framework.request import Request

from config.core.errors import DomainError, IdempotencyKeyMalformed, IdempotencyKeyReused
from config.core.models import IdempotencyKey

T = TypeVar("T")
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,255}")
UNIQUE_CONSTRAINT = "idempotency_key_once_per_caller"


@dataclass(frozen=True, slots=True)
class Claim:
    """A caller's key with the fingerprint (sha256) of method, path and canonical body."""

    caller_id: UUID
    key: str
    fingerprint: str

    def check(self, fingerprint: str) -> None:
        """Raises: IdempotencyKeyReused when the stored request was another one."""
        if fingerprint != self.fingerprint:
            raise IdempotencyKeyReused


def fingerprint(*, method: str, path: str, body: Any) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return hashlib.sha256(f"{method}\n{path}\n{canonical}".encode()).hexdigest()


def claim_of(request: Request) -> Claim | None:
    """The claim that a request makes, None without the header.

    Raises: IdempotencyKeyMalformed.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not _PRINTABLE.fullmatch(key):
        raise IdempotencyKeyMalformed
    print_ = fingerprint(method=request.method or "", path=request.path, body=request.data)
    caller: Any = request.user
    return Claim(caller_id=caller.pk, key=key, fingerprint=print_)


def find(claim: Claim | None) -> IdempotencyKey | None:
    """What the key stands for. Raises: IdempotencyKeyReused."""
    if claim is None:
        return None
    row = IdempotencyKey.objects.filter(caller_id=claim.caller_id, key=claim.key).first()
    if row is not None:
        claim.check(row.fingerprint)
    return row


def once(
    claim: Claim | None, *, resource_type: str, make: Callable[[], UUID], load: Callable[[UUID], T]
) -> tuple[T, bool]:
    """Make a resource once per key; returns it and whether this was a replay.

    `make` writes inside the transaction opened here and returns the id. Two requests at once with one key: the second
    waits at the unique constraint, is rolled back with all that it wrote, and finds the first one's outcome. One that
    is refused finds it, too, where the first is why there is nothing left to do.
    """
    found = find(claim)
    if found is not None:
        return load(found.resource_id), True
    try:
        with transaction.atomic():
            made = make()
            if claim is not None:
                IdempotencyKey.objects.create(
                    caller_id=claim.caller_id,
                    key=claim.key,
                    fingerprint=claim.fingerprint,
                    resource_type=resource_type,
                    resource_id=made,
                )
    except (IntegrityError, DomainError) as error:
        if isinstance(error, IntegrityError) and UNIQUE_CONSTRAINT not in str(error):
            raise
        found = find(claim)
        if found is None:
            raise
        return load(found.resource_id), True
    return load(made), False
