"""Whether and when to ask the provider again.

Only faults before the first byte of an answer say `later` or `at_once`: after it, a retry would show the user the same
text twice and pay the provider twice.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import uniform

from sessions_app.llm.faults import Fault

BACKOFF_MAX_S = 8.0
# Nobody waits longer than this for a provider that says when to come back: the caller gets the number instead.
RETRY_AFTER_MAX_S = 20.0
_SECONDS = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*")


class Retries:
    """The budget of one call."""

    def __init__(self, *, max_retries: int, backoff_base_s: float) -> None:
        self._left = max_retries
        self._backoff_base_s = backoff_base_s
        self._next_backoff_s = backoff_base_s
        self._may_jump = True

    def pause_s(self, fault: Fault, *, left_s: float) -> float | None:
        """Seconds to wait before the next attempt; None to give up."""
        if fault.retry == "at_once" and self._may_jump:
            # Not counted: the connection was stale, the provider has not failed.
            self._may_jump = False
            return 0.0
        if fault.retry == "never" or self._left == 0:
            return None
        pause_s = self._pause_s(fault.failure.retry_after_s)
        if pause_s is None or pause_s >= left_s:
            return None
        self._left -= 1
        return pause_s

    def _pause_s(self, retry_after_s: float | None) -> float | None:
        if retry_after_s is not None:
            if retry_after_s > RETRY_AFTER_MAX_S:
                return None
            # A little later, never earlier: callers that were turned away together should not return together.
            return retry_after_s + uniform(0, self._backoff_base_s)
        backoff_s = min(self._next_backoff_s, BACKOFF_MAX_S)
        self._next_backoff_s = backoff_s * 2
        return backoff_s * uniform(0.5, 1.0)


def parse_retry_after(value: str | None, *, now: datetime) -> float | None:
    """`Retry-After` as seconds from now: a number or an HTTP date. Anything else counts as absent."""
    if value is None:
        return None
    seconds = _SECONDS.fullmatch(value)
    if seconds:
        return float(seconds.group(1))
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        # "-0000" in the header: UTC without a claim to a place.
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
