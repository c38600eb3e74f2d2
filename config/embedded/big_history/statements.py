"""The SQL that makes the history. PostgreSQL 18 alone: `uuidv7` with a shift gives ids of the time they stand for.

Triggers are off while it runs, as they would look at each row; what they guard is made to hold, and `check_ledger` says
whether it does.
"""

from __future__ import annotations

WORK_TABLES = """
DROP SCHEMA IF EXISTS seeding CASCADE;
CREATE SCHEMA seeding;
CREATE TABLE seeding.kinds (
    k int PRIMARY KEY, provider text, model_alias text, provider_model text, fresh bigint, cached bigint,
    written bigint, output bigint, reasoning bigint, total bigint, oe numeric(20, 4), multiplier numeric(12, 4),
    burned numeric(20, 4), charged numeric(18, 8), usd numeric(20, 8));
CREATE TABLE seeding.people AS
SELECT n, uuidv7(%(start)s - interval '1 day' - clock_timestamp()) AS user_id, uuidv7() AS wallet_id,
       uuidv7() AS lot_id FROM generate_series(1, %(users)s) n;
CREATE UNIQUE INDEX ON seeding.people (n);
CREATE UNIQUE INDEX ON seeding.people (user_id);
CREATE TABLE seeding.rooms AS
SELECT p.n, slot, p.user_id, uuidv7() AS room_id, uuidv7() AS session_id, 0 AS turns,
       (ARRAY['roundtable', 'roundtable', 'manual', 'orchestrator'])[1 + (p.n + slot) %% 4] AS mode,
       ARRAY(SELECT uuidv7() FROM generate_series(1, 2 + (p.n + slot) %% 2)) AS agent_ids,
       ARRAY(SELECT floor(%(aliases)s * power(random(), 1.7))::int FROM generate_series(1, 2 + (p.n + slot) %% 2)
              WHERE p.n > 0) AS alias_nos
  FROM seeding.people p CROSS JOIN generate_series(0, 1) slot WHERE slot = 0 OR p.n %% 3 = 0;
CREATE UNIQUE INDEX ON seeding.rooms (n, slot);
CREATE UNIQUE INDEX ON seeding.rooms (session_id);
CREATE FUNCTION seeding.link(state text, line text, seed text) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$ SELECT encode(sha256(convert_to(COALESCE(state, seed) || line, 'UTF8')), 'hex') $$;
CREATE AGGREGATE seeding.chain(text, text) (sfunc = seeding.link, stype = text);
"""

KINDS = "COPY seeding.kinds FROM STDIN"

PEOPLE_AND_ROOMS = """
INSERT INTO users (id, email, password, display_name, is_active, is_staff, is_superuser, created_at)
SELECT user_id, 'person-' || lpad(n::text, 6, '0') || '@example.com', '!', 'Person ' || n, true, false, false, %(start)s
  FROM seeding.people ORDER BY n;
INSERT INTO agents (id, user_id, agent_key, name, description, role_prompt, model_alias, tool_permissions, created_at,
                    updated_at)
SELECT agent_id, r.user_id, 'agent_' || slot || '_' || i, (ARRAY['Optimist', 'Skeptic', 'Editor'])[i] || ' ' || r.n,
       '', 'You answer in one sentence.',
       (SELECT model_alias FROM seeding.kinds WHERE k = alias_nos[i] * %(kinds)s), '[]', %(start)s, %(start)s
  FROM seeding.rooms r, unnest(agent_ids) WITH ORDINALITY AS a(agent_id, i);
INSERT INTO rooms (id, user_id, name, goal, mode, created_at, updated_at)
SELECT room_id, user_id, (ARRAY['Planning', 'Research'])[slot + 1] || ' ' || n, '', mode, %(start)s, %(start)s
  FROM seeding.rooms;
INSERT INTO room_agents (id, room_id, agent_id, position, created_at)
SELECT uuidv7(), room_id, agent_id, i, %(start)s
  FROM seeding.rooms, unnest(agent_ids) WITH ORDINALITY AS a(agent_id, i);
INSERT INTO sessions (id, user_id, room_id, title, created_at)
SELECT session_id, user_id, room_id, 'Session', %(start)s FROM seeding.rooms;
"""

# A visit is a handful of turns some minutes apart. Few users do much, most do little, and nights are quiet.
DAY_OF_TURNS = """
CREATE TEMP TABLE day_turns ON COMMIT DROP AS
WITH visits AS MATERIALIZED (
    SELECT 1 + floor(%(users)s * power(random(), 2.2))::int AS n, random() < 0.4 AS wants_second,
           %(day)s + interval '1 day' * ((random() + random() + random()) / 3 * 0.999) AS began,
           1 + floor(random() * 4)::int AS turns
      FROM generate_series(1, %(visits)s)
), turns AS MATERIALIZED (
    SELECT n, wants_second, began + i * interval '1 second' * (90 + 240 * random()) AS at, random() AS fate,
           1 + floor(random() * 4)::int AS calls
      FROM visits, generate_series(0, turns - 1) i)
SELECT uuidv7(t.at - clock_timestamp()) AS turn_id, t.at, r.n, r.slot, r.user_id, r.room_id, r.session_id, r.mode,
       r.agent_ids, r.alias_nos,
       r.turns + row_number() OVER (PARTITION BY r.session_id ORDER BY t.at) AS turn_index,
       CASE WHEN fate < 0.955 THEN 'completed' WHEN fate < 0.97 THEN 'partial' WHEN fate < 0.985 THEN 'failed'
            WHEN fate < 0.993 THEN 'cancelled' ELSE 'interrupted' END AS status,
       CASE WHEN fate >= 0.97 AND fate < 0.985 THEN 1 ELSE calls END AS calls
  FROM turns t JOIN seeding.rooms r ON r.n = t.n AND r.slot = (t.wants_second AND t.n %% 3 = 0)::int
 WHERE t.at < %(now)s;
UPDATE seeding.rooms r SET turns = r.turns + d.turns
  FROM (SELECT session_id, count(*) AS turns FROM day_turns GROUP BY session_id) d WHERE d.session_id = r.session_id;
INSERT INTO turns (
    id, session_id, user_id, room_id, turn_index, mode, status, user_input, pricing_version, pricing_revision, speakers,
    warnings, max_output_tokens, claim, error_code, error_detail, provider_model, summary_used_fallback, request_id,
    created_at, finished_at)
SELECT turn_id, session_id, user_id, room_id, turn_index, mode, status, 'Hello', %(version)s, %(revision)s, '[]', '[]',
       1000, turn_id, CASE status WHEN 'failed' THEN 'provider_error' ELSE '' END, '', '', false, 'big-history',
       at - interval '8 seconds', at
  FROM day_turns ORDER BY at;
INSERT INTO shadow_refusals (
    id, user_id, reference_type, reference_id, stage, model_alias, balance, held, available, required, created_at)
SELECT uuidv7(at - clock_timestamp()), user_id, 'turn', turn_id,
       CASE WHEN random() < 0.7 THEN 'opening' ELSE 'between_calls' END,
       (SELECT model_alias FROM seeding.kinds WHERE k = alias_nos[1] * %(kinds)s), 0.01, 0, 0.01, 0.35, at
  FROM day_turns WHERE random() < 0.004;
"""

DAY_OF_EVENTS = """
INSERT INTO llm_call_events (
    id, user_id, room_id, session_id, turn_id, step_id, agent_id, purpose, provider, model_alias, provider_model,
    input_tokens_fresh, input_tokens_cached, input_tokens_cache_write, output_tokens, reasoning_tokens, total_tokens,
    oe_tokens_computed, multiplier, credits_burned, credits_charged, provider_cost_usd, usage_source, usage_flags,
    raw_usage, latency_ms, status, pricing_version, pricing_revision, call_index, request_id, called_at, created_at)
WITH of_turns AS MATERIALIZED (
    SELECT at, user_id, room_id, session_id, turn_id, i AS call_index, status = 'failed' AS is_failed,
           agent_ids[1 + (i - 1) %% cardinality(agent_ids)] AS agent_id, random() AS dice,
           CASE WHEN mode = 'orchestrator' AND calls > 1 AND i = 1 THEN 'router'
                WHEN mode = 'orchestrator' AND calls > 2 AND i = calls THEN 'synthesis'
                WHEN calls > 3 AND i = 1 AND random() < 0.15 THEN 'summary' ELSE 'agent' END AS purpose,
           alias_nos[1 + (i - 1) %% cardinality(alias_nos)] * %(kinds)s
               + CASE WHEN status = 'failed' THEN 0 ELSE 1 + floor(random() * (%(kinds)s - 1))::int END AS k
      FROM day_turns, generate_series(1, calls) i
), direct AS MATERIALIZED (
    SELECT at, user_id, NULL::uuid AS room_id, NULL::uuid AS session_id, NULL::uuid AS turn_id, 1 AS call_index,
           false AS is_failed, NULL::uuid AS agent_id, random() AS dice, 'direct' AS purpose,
           alias_nos[1] * %(kinds)s + 1 + floor(random() * (%(kinds)s - 1))::int AS k
      FROM (SELECT DISTINCT ON (user_id) * FROM day_turns) d WHERE random() < 0.3
), calls AS (SELECT * FROM of_turns UNION ALL SELECT * FROM direct)
SELECT uuidv7(at - clock_timestamp()), user_id, room_id, session_id, turn_id, turn_id, agent_id, purpose, provider,
       model_alias, provider_model, fresh, cached, written, output, reasoning, total, oe, multiplier, burned, charged,
       usd, CASE WHEN is_failed THEN 'none' WHEN dice < 0.02 THEN 'estimated' WHEN dice < 0.025 THEN 'partial'
            ELSE 'provider' END,
       '[]', NULL, 900 + (dice * 4000)::int,
       CASE WHEN is_failed AND dice < 0.3 THEN 'timeout' WHEN is_failed THEN 'error' ELSE 'success' END,
       %(version)s, %(revision)s, call_index, 'big-history', at - interval '5 seconds', at
  FROM calls JOIN seeding.kinds USING (k) ORDER BY at, turn_id, call_index;
"""

LOTS = """
ALTER TABLE seeding.people ADD given numeric(18, 8) NOT NULL DEFAULT 1;
UPDATE seeding.people p SET given = ceil(e.charged) + 1 + p.n % 40
  FROM (SELECT user_id, sum(credits_charged) AS charged FROM llm_call_events GROUP BY user_id) e
 WHERE e.user_id = p.user_id;
ANALYZE seeding.people;
ANALYZE llm_call_events;
"""

# One lot each, given before the first call and larger than all of them, so that every debit is paid by it.
SOME_LEDGERS = """
CREATE TEMP TABLE entries ON COMMIT DROP AS
WITH events AS MATERIALIZED (
    SELECT p.user_id, p.wallet_id, p.lot_id, e.id AS event_id, e.turn_id, e.purpose, e.credits_charged, e.created_at
      FROM seeding.people p JOIN llm_call_events e ON e.user_id = p.user_id AND e.credits_charged > 0
     WHERE p.n BETWEEN %(first)s AND %(last)s
), lines AS (
    SELECT user_id, wallet_id, lot_id, 'grant' AS kind, given AS amount, 'grant' AS reference_type,
           lot_id AS reference_id, NULL::uuid AS event_id, lot_id AS grant_id, 'welcome' AS reason,
           'big-history' AS initiated_by, %(start)s - interval '1 hour' AS created_at
      FROM seeding.people WHERE n BETWEEN %(first)s AND %(last)s
    UNION ALL
    SELECT user_id, wallet_id, lot_id, 'debit', -credits_charged,
           CASE WHEN turn_id IS NULL THEN 'completion' ELSE 'turn' END, COALESCE(turn_id, event_id), event_id, NULL,
           purpose, user_id::text, created_at
      FROM events
), sums AS (
    SELECT uuidv7(created_at - clock_timestamp()) AS id, *, row_number() OVER w AS seq,
           (sum(amount) OVER w)::numeric(18, 8) AS balance_after
      FROM lines WINDOW w AS (PARTITION BY wallet_id ORDER BY created_at, event_id NULLS FIRST)
)
SELECT *, seeding.chain(
           '{"amount":"' || amount || '","balance_after":"' || balance_after || '","created_at":"'
           || to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '","event_id":'
           || COALESCE('"' || event_id || '"', 'null') || ',"grant_id":' || COALESCE('"' || grant_id || '"', 'null')
           || ',"id":"' || id || '","idempotency_key":null,"initiated_by":"' || initiated_by || '","kind":"' || kind
           || '","reason":"' || reason || '","reference_id":"' || reference_id || '","reference_type":"'
           || reference_type || '","seq":' || seq || ',"user_id":"' || user_id || '","wallet_id":"' || wallet_id
           || '"}',
           encode(sha256(convert_to(wallet_id::text, 'UTF8')), 'hex'))
       OVER (PARTITION BY wallet_id ORDER BY seq) AS entry_hash
  FROM sums;
INSERT INTO credit_wallets (id, user_id, balance, held, last_seq, last_hash, updated_at)
SELECT DISTINCT ON (wallet_id) wallet_id, user_id, balance_after, 0, seq, entry_hash, created_at
  FROM entries ORDER BY wallet_id, seq DESC;
INSERT INTO credit_grants (id, user_id, kind, amount, remaining, priority, campaign, created_at)
SELECT lot_id, user_id, 'promo', max(amount), sum(amount), 50, '', min(created_at)
  FROM entries GROUP BY lot_id, user_id;
INSERT INTO credit_transactions (
    id, wallet_id, user_id, seq, kind, amount, balance_after, reference_type, reference_id, event_id, grant_id,
    idempotency_key, reason, initiated_by, entry_hash, created_at)
SELECT id, wallet_id, user_id, seq, kind, amount, balance_after, reference_type, reference_id, event_id, grant_id, NULL,
       reason, initiated_by, entry_hash, created_at
  FROM entries ORDER BY created_at;
INSERT INTO credit_allocations (id, entry_id, grant_id, amount)
SELECT uuidv7(), id, lot_id, -amount FROM entries WHERE kind = 'debit';
"""

DONE = "DROP SCHEMA seeding CASCADE"
