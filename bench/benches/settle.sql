-- What settling a turn of one call writes, as one prepared statement: turn, 2 messages, step, event, entry (and its
-- allocation), lot, hold, wallet. Nothing is read first, checked, hashed or fenced, and no trigger runs: the least that
-- these rows cost this PostgreSQL. `bench_people` is made by bench/benches/settling.py; `-D people=1` makes one row hot.
\set n random(1, :people)
WITH who AS MATERIALIZED (
    SELECT *, uuidv7() AS turn_id, uuidv7() AS step_id, uuidv7() AS event_id, uuidv7() AS entry_id
      FROM bench_people WHERE n = :n
), wallet AS (
    UPDATE credit_wallets w SET balance = balance - 0.00440000, last_seq = last_seq + 1,
           last_hash = md5(last_hash) || md5(w.id::text), updated_at = clock_timestamp()
      FROM who WHERE w.id = who.wallet_id RETURNING w.balance, w.last_seq, w.last_hash
), lot AS (
    UPDATE credit_grants g SET remaining = remaining - 0.00440000 FROM who WHERE g.id = who.lot_id
), turn AS (
    INSERT INTO turns (
        id, session_id, user_id, room_id, turn_index, mode, status, user_input, pricing_version, pricing_revision,
        speakers, warnings, max_output_tokens, claim, error_code, error_detail, provider_model, summary_used_fallback,
        stand_ins, request_id, created_at, finished_at)
    SELECT turn_id, session_id, user_id, room_id, nextval('bench_turns'), 'standalone', 'completed',
           'Should a small team write down how it decides?', '2026-02-20', 1,
           '[{"agent_id": "00000000-0000-7000-8000-000000000000", "agent_key": "ann", "agent_name": "Ann",
              "role_prompt": "You are Ann.", "model_alias": "gpt-4o", "description": "", "tools": []}]',
           '[]', 256, step_id, '', '', 'bench', false, '{}', 'bench', clock_timestamp(), clock_timestamp()
      FROM who
), messages AS (
    INSERT INTO messages (id, session_id, turn_id, role, agent_id, agent_key, agent_name, content)
    SELECT uuidv7(), session_id, turn_id, 'user', NULL, '', '', 'Should a small team write down how it decides?'
      FROM who
    UNION ALL
    SELECT uuidv7(), session_id, turn_id, 'assistant', agent_id, 'ann', 'Ann', 'Every answer here is the same.'
      FROM who
), step AS (
    INSERT INTO turn_steps (
        id, turn_id, step_index, agent_id, agent_key, agent_name, purpose, model_alias, status, content, error_code,
        call, context, started_at, finished_at)
    SELECT step_id, turn_id, 1, agent_id, 'ann', 'Ann', 'agent', 'gpt-4o', 'success', 'Every answer here is the same.',
           '', jsonb_build_object(
               'event_id', event_id, 'pools', '{"input_fresh": 40, "output": 8}'::jsonb, 'multiplier', '2.0000',
               'credits_charged', '0.00440000', 'raw_usage', '{"prompt_tokens": 40, "completion_tokens": 8}'::jsonb),
           '{"budget_tokens": 120000, "included_messages": 1, "included_tokens": 40}', clock_timestamp(),
           clock_timestamp()
      FROM who
), event AS (
    INSERT INTO llm_call_events (
        id, user_id, room_id, session_id, turn_id, step_id, agent_id, purpose, provider, model_alias, provider_model,
        input_tokens_fresh, input_tokens_cached, input_tokens_cache_write, output_tokens, reasoning_tokens,
        total_tokens, oe_tokens_computed, multiplier, credits_burned, credits_charged, provider_cost_usd, usage_source,
        usage_flags, raw_usage, latency_ms, status, pricing_version, pricing_revision, call_index, request_id,
        called_at, created_at)
    SELECT event_id, user_id, room_id, session_id, turn_id, step_id, agent_id, 'agent', 'default', 'gpt-4o', 'bench',
           40, 0, 0, 8, 0, 48, 22, 2, 0.0044, 0.0044, 0.00018, 'provider', '[]',
           '{"prompt_tokens": 40, "completion_tokens": 8}', 5, 'success', '2026-02-20', 1, 1, turn_id || '-1',
           clock_timestamp(), clock_timestamp()
      FROM who
), entry AS (
    INSERT INTO credit_transactions (
        id, wallet_id, user_id, seq, kind, amount, balance_after, reference_type, reference_id, event_id, reason,
        initiated_by, entry_hash, created_at)
    SELECT entry_id, wallet_id, user_id, last_seq, 'debit', -0.00440000, balance, 'turn', turn_id, event_id, 'agent',
           user_id::text, last_hash, clock_timestamp()
      FROM who, wallet
), allocation AS (
    INSERT INTO credit_allocations (id, entry_id, grant_id, amount)
    SELECT uuidv7(), entry_id, lot_id, 0.00440000 FROM who
)
INSERT INTO credit_holds (
    id, user_id, wallet_id, reference_type, reference_id, amount, shares, room_id, status, charged, balance_after,
    expires_at, created_at, closed_at)
SELECT uuidv7(), user_id, wallet_id, 'turn', turn_id, 0.06, '[["gpt-4o", "0.06000000", null]]', room_id, 'settled',
       0.0044, balance, clock_timestamp(), clock_timestamp(), clock_timestamp()
  FROM who, wallet;
