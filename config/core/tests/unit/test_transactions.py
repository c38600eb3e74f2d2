from __future__ import annotations

import itertools
import time

import psycopg
import pytest
from django.db import IntegrityError, OperationalError

from config.core.transactions import retrying, sqlstate

DEADLOCK, SERIALIZATION, LOCK_TIMEOUT = "40P01", "40001", "55P03"
REFUSED_CONNECTION, QUERY_CANCELLED, DISK_FULL = "08006", "57014", "53100"


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which the tests do not wait for."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


def failure(state: str) -> OperationalError:
    """What Django raises: its own error, caused by the driver's, which carries the state."""
    error = OperationalError(f"failed with {state}")
    error.__cause__ = psycopg.errors.lookup(state)()
    return error


class Work:
    """Fails so many times in one way, then returns 42."""

    def __init__(self, error: Exception, *, failures: int) -> None:
        self.error, self.failures, self.calls = error, failures, 0

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return 42


def test_work_that_succeeds_runs_once(slept: list[float]) -> None:
    work = Work(ValueError(), failures=0)
    assert retrying(work) == 42
    assert (work.calls, slept) == (1, [])


@pytest.mark.parametrize("state", [DEADLOCK, SERIALIZATION])
def test_a_lost_race_is_run_again(state: str, slept: list[float]) -> None:
    work = Work(failure(state), failures=3)
    assert retrying(work) == 42
    assert (work.calls, len(slept)) == (4, 3)


def test_the_pauses_grow_and_stay_short(slept: list[float]) -> None:
    retrying(Work(failure(DEADLOCK), failures=3))
    bounds = [(0.005 * 2**attempt, 0.02 * 2**attempt) for attempt in (1, 2, 3)]
    assert all(least <= pause <= most for pause, (least, most) in itertools.zip_longest(slept, bounds))


@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_the_attempts_are_bounded_and_the_last_error_is_raised(attempts: int) -> None:
    error = failure(DEADLOCK)
    work = Work(error, failures=99)
    with pytest.raises(OperationalError) as raised:
        retrying(work, attempts=attempts)
    assert raised.value is error
    assert work.calls == attempts


@pytest.mark.parametrize("state", [REFUSED_CONNECTION, QUERY_CANCELLED, DISK_FULL])
def test_other_operational_errors_are_not_retried(state: str) -> None:
    work = Work(failure(state), failures=1)
    with pytest.raises(OperationalError):
        retrying(work)
    assert work.calls == 1


@pytest.mark.parametrize("error", [OperationalError("no cause"), IntegrityError("twice"), ValueError("no")])
def test_errors_without_such_a_state_are_not_retried(error: Exception) -> None:
    work = Work(error, failures=1)
    with pytest.raises(type(error)):
        retrying(work)
    assert work.calls == 1


def test_the_state_is_found_on_the_error_or_its_cause() -> None:
    assert sqlstate(failure(DEADLOCK)) == DEADLOCK
    assert sqlstate(psycopg.errors.DeadlockDetected()) == DEADLOCK
    assert sqlstate(ValueError()) is None
