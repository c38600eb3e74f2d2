from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import UUID

import pytest
from django.db import IntegrityError, connection

from config.core.errors import IdempotencyKeyReused
from config.core.idempotency import Claim, find, once
from config.core.ids import uuid7
from config.core.models import IdempotencyKey

pytestmark = pytest.mark.django_db(transaction=True)
ALICE, BOB = uuid7(), uuid7()
AT_ONCE = 20
MADE = "something made"


def claim(caller: UUID = ALICE, *, key: str = "k", fingerprint: str = "f") -> Claim:
    return Claim(caller_id=caller, key=key, fingerprint=fingerprint)


def make() -> UUID:
    """Write a row that stands for what a request makes. A row of this model, because core has no other."""
    return IdempotencyKey.objects.create(caller_id=uuid7(), key=MADE, resource_id=uuid7()).pk


def run(claimed: Claim | None) -> tuple[UUID, bool]:
    return once(claimed, resource_type="thing", make=make, load=lambda made: IdempotencyKey.objects.get(pk=made).pk)


def made_count() -> int:
    return IdempotencyKey.objects.filter(key=MADE).count()


def test_the_second_request_gets_what_the_first_made() -> None:
    first, replayed = run(claim())
    assert not replayed
    assert run(claim()) == (first, True)
    assert made_count() == 1
    row = find(claim())
    assert row is not None
    assert (row.resource_id, row.resource_type) == (first, "thing")


def test_without_a_key_each_request_makes_its_own() -> None:
    assert run(None)[0] != run(None)[0]
    assert made_count() == 2


def test_a_key_belongs_to_its_caller() -> None:
    assert run(claim(ALICE))[0] != run(claim(BOB))[0]
    assert run(claim(ALICE, key="another"))[1] is False
    assert made_count() == 3


def test_the_same_key_for_another_request_is_refused_and_makes_nothing() -> None:
    run(claim())
    with pytest.raises(IdempotencyKeyReused):
        run(claim(fingerprint="other"))
    assert made_count() == 1


def test_a_failure_is_not_remembered() -> None:
    def fail() -> UUID:
        make()
        raise LookupError

    with pytest.raises(LookupError):
        once(claim(), resource_type="thing", make=fail, load=lambda made: made)
    assert IdempotencyKey.objects.count() == 0
    assert run(claim())[1] is False


def test_another_constraint_s_error_is_not_mistaken_for_a_replay() -> None:
    def collide() -> UUID:
        for _ in range(2):
            IdempotencyKey.objects.create(id=ALICE, caller_id=uuid7(), key=MADE, resource_id=uuid7())
        return ALICE

    with pytest.raises(IntegrityError):
        once(claim(), resource_type="thing", make=collide, load=lambda made: made)
    assert IdempotencyKey.objects.count() == 0


@pytest.mark.parametrize("bodies", [1, 2])
def test_twenty_at_once_make_one(bodies: int) -> None:
    barrier = Barrier(AT_ONCE)

    def one(number: int) -> tuple[UUID, bool] | None:
        connection.ensure_connection()
        barrier.wait(timeout=30)
        try:
            return run(claim(fingerprint=f"body {number % bodies}"))
        except IdempotencyKeyReused:
            return None
        finally:
            connection.close()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = [outcome for outcome in pool.map(one, range(AT_ONCE)) if outcome is not None]
    assert len(outcomes) == AT_ONCE // bodies
    assert len({made for made, _ in outcomes}) == 1
    assert [replayed for _, replayed in outcomes].count(False) == 1
    assert made_count() == 1
