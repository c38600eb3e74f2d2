"""What of a call is billed: which tokens, and who says so.

| how it ended                     | usage reported            | not reported                  |
|----------------------------------|---------------------------|-------------------------------|
| success                          | as reported (`provider`)  | estimated                     |
| partial                          | as reported (`partial`)   | estimated from the text       |
| cancelled                        | as reported (`partial`)   | estimated if text came        |
| error, timeout, 429 before text  | nothing (`none`)          | nothing (`none`)              |

An explicit zero is a report, not a gap. What an answer said after its last report, before it was cut or cancelled, is
estimated and added: Anthropic reports at the start and at the end, and at the start it has counted next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pricing.rating import TokenPools
from sessions_app.llm.estimate import estimate_input, estimate_output
from sessions_app.llm.types import CallStatus, ChatRequest, UsageSource
from sessions_app.llm.usage import read_evidence


@dataclass(frozen=True, slots=True)
class Metered:
    pools: TokenPools
    source: UsageSource
    flags: tuple[str, ...] = ()


NOTHING = Metered(TokenPools(), "none")


def meter(
    *,
    status: CallStatus,
    request: ChatRequest,
    text: str,
    usage: Mapping[str, Any] | None,
    uncounted: str = "",
    flags: tuple[str, ...] = (),
) -> Metered:
    """`usage` is the evidence that is stored with the call, `flags` what was noticed while it was gathered.

    `text` is all that the model wrote, its calls of tools included; `uncounted` is the end of the text, which came
    after the last usage.
    """
    if status in {"error", "timeout", "rate_limited"}:
        return NOTHING
    reported = read_evidence(usage or {})
    if status == "cancelled" and not text and not reported.is_complete:
        return NOTHING
    flags = tuple(dict.fromkeys((*flags, *reported.flags)))
    input_estimate = estimate_input(request.messages, schema=request.response_schema, tools=request.tools)
    pools = reported.pools(input_estimate=input_estimate, output_estimate=estimate_output(text))
    if not reported.is_complete:
        return Metered(pools, "estimated", flags)
    if status != "success" and uncounted:
        pools = replace(pools, output=pools.output + estimate_output(uncounted))
        return Metered(pools, "estimated", (*flags, "output_after_usage"))
    return Metered(pools, "provider" if status == "success" else "partial", flags)
