"""What was charged for, as rows that can be added up: the one place from which rollup and reports take credits.

Calls of models, and calls of tools that cost something: these have no alias, no tokens and no cost that is known.
"""

from __future__ import annotations

# Keys, then what is added up. A call whose provider sent a part of its usage, or none, is one of estimated usage.
_CALLS = """
SELECT id AS event_id, created_at, user_id, room_id, agent_id, session_id, turn_id, model_alias, purpose, 1 AS calls,
       CASE WHEN usage_source IN ('estimated', 'partial') THEN 1 ELSE 0 END AS calls_estimated,
       CASE WHEN provider_cost_usd IS NULL THEN 1 ELSE 0 END AS calls_without_cost,
       input_tokens_fresh + input_tokens_cache_write AS input_tokens_fresh, input_tokens_cached, output_tokens,
       oe_tokens_computed AS oe_tokens, credits_burned, credits_charged,
       CASE WHEN usage_source IN ('estimated', 'partial') THEN credits_charged ELSE 0 END AS credits_estimated,
       CASE WHEN provider_cost_usd IS NOT NULL THEN credits_charged ELSE 0 END AS credits_with_cost,
       COALESCE(provider_cost_usd, 0) AS provider_cost_usd
  FROM llm_call_events"""
_TOOLS = """
SELECT id, created_at, user_id, room_id, agent_id, session_id, turn_id, ''::varchar, 'tool'::varchar, 1, 0, 1,
       0::bigint, 0::bigint, 0::bigint, 0::numeric, credits_burned, credits_charged, 0::numeric, 0::numeric, 0::numeric
  FROM tool_call_events WHERE credits_charged > 0"""
# PostgreSQL pulls it up into the statement around it, so conditions on it use the events' indexes. It does so where
# both halves' columns have the same types, which is why what stands for those of tools is cast.
CHARGES = f"({_CALLS} UNION ALL {_TOOLS}) AS charges"
# When the first at or after a time was: two steps into two indexes, where `min` over both would read all that follows.
FIRST_SINCE = """
SELECT LEAST(
    (SELECT min(created_at) FROM llm_call_events WHERE created_at >= %(since)s),
    (SELECT min(created_at) FROM tool_call_events WHERE credits_charged > 0 AND created_at >= %(since)s))"""

# In months, where others have the name of one. No alias may be called so; those of tools, which have none, are empty.
ALL_ALIASES = "*"

COUNTS = (
    "calls", "calls_estimated", "calls_without_cost", "input_tokens_fresh", "input_tokens_cached", "output_tokens",
)  # fmt: skip
DECIMALS = (
    "oe_tokens", "credits_burned", "credits_charged", "credits_estimated", "credits_with_cost", "provider_cost_usd",
)  # fmt: skip
MEASURES = (*COUNTS, *DECIMALS)
COLUMNS = ", ".join(MEASURES)
# `sum` of a bigint is a numeric.
SUMS = ", ".join(
    [*(f"sum({name})::bigint AS {name}" for name in COUNTS), *(f"sum({name}) AS {name}" for name in DECIMALS)]
)
