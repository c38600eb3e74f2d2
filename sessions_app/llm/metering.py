"""What of a call is billed: which tokens, and who says so.

| how it ended                     | usage reported            | not reported                  |
|----------------------------------|---------------------------|-------------------------------|
| success                          | as reported (`provider`)  | estimated                     |
| partial                          | as reported (`partial`)   | estimated from the text       |
| cancelled                        | as reported (`partial`)   | estimated if text came        |
| error, timeout, 429 before text  | nothing (`none`)          | nothing (`none`)              |

An explicit zero is a report, not a gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pricing.rating import TokenPools
from sessions_app.llm.estimate import estimate_input, estimate_output
from sessions_app.llm.types import CallStatus, ChatRequest, UsageSource
from sessions_app.llm.usage import read_usage


@dataclass(frozen=True, slots=True)
class Metered:
    pools: TokenPools
    source: UsageSource
    flags: tuple[str, ...] = ()


NOTHING = Metered(TokenPools(), "none")


def meter(*, status: CallStatus, request: ChatRequest, text: str, usage: Mapping[str, Any] | None) -> Metered:
    if status in {"error", "timeout", "rate_limited"}:
        return NOTHING
    reported = read_usage(usage or {})
    if status == "cancelled" and not text and not reported.is_complete:
        return NOTHING
    pools = reported.pools(input_estimate=estimate_input(request.messages), output_estimate=estimate_output(text))
    if not reported.is_complete:
        return Metered(pools, "estimated", reported.flags)
    return Metered(pools, "provider" if status == "success" else "partial", reported.flags)
