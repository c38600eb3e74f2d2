"""What SQL says of a batch of wallets: L2, L3's debits, L4's refunds, L8, L9, L11. One query an invariant and sentence.

`s` is the batch: each wallet with the `seq` after which its entries are new (0: all of them are). A query answers with
the wallet, its user and what is wrong, naming entries by `seq` and id.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.conf import settings

from billing.invariants.findings import Findings, Head
from billing.invariants.reading import rows

_SCOPE = """WITH s AS (
    SELECT *
      FROM unnest(%(wallets)s::uuid[], %(users)s::uuid[], %(after)s::bigint[]) AS u(wallet_id, user_id, after_seq)
) """

QUERIES: dict[str, tuple[str, ...]] = {
    "L2": (
        # `held` is the sum of the open holds.
        """SELECT w.id, w.user_id, format('held %%s, open holds add up to %%s', w.held, COALESCE(h.total, 0))
             FROM s JOIN credit_wallets w ON w.id = s.wallet_id LEFT JOIN LATERAL (
                  SELECT SUM(amount) AS total FROM credit_holds WHERE wallet_id = w.id AND status = 'open') h ON true
            WHERE w.held <> COALESCE(h.total, 0) OR w.held < 0""",
    ),
    "L3": (
        # No debit without its event, and none with two. The other direction is in `events` and `tools`.
        """SELECT t.wallet_id, t.user_id, format('entry %%s (%%s): this debit has %%s of this user', t.seq, t.id,
                  CASE num_nonnulls(e.id, c.id) WHEN 0 THEN 'no event' ELSE 'two events' END)
             FROM s JOIN credit_transactions t ON t.wallet_id = s.wallet_id AND t.seq > s.after_seq
             LEFT JOIN llm_call_events e ON e.id = t.event_id AND e.user_id = t.user_id
             LEFT JOIN tool_call_events c ON c.id = t.event_id AND c.user_id = t.user_id
            WHERE t.kind = 'debit' AND num_nonnulls(e.id, c.id) <> 1""",
    ),
    "L4": (
        # The refunds of a debit do not exceed it.
        """SELECT r.wallet_id, r.user_id, format('refunds of entry %%s come to %%s, it took %%s; the last is entry %%s',
                  r.reference_id, x.refunded, -d.amount, r.seq)
             FROM (SELECT t.wallet_id, t.user_id, t.reference_id, MAX(t.seq) AS seq
                     FROM s JOIN credit_transactions t ON t.wallet_id = s.wallet_id AND t.seq > s.after_seq
                    WHERE t.kind = 'refund' AND t.reference_type = 'entry' GROUP BY 1, 2, 3) r
             LEFT JOIN credit_transactions d
                  ON d.id = r.reference_id AND d.wallet_id = r.wallet_id AND d.kind = 'debit'
            CROSS JOIN LATERAL (
                  SELECT SUM(amount) AS refunded FROM credit_transactions
                   WHERE reference_id = r.reference_id AND wallet_id = r.wallet_id AND kind = 'refund') x
            WHERE d.id IS NULL OR x.refunded > -d.amount""",
        # The refunds of a piece of work, of its debits and of itself, do not exceed what it cost.
        """SELECT r.wallet_id, r.user_id, format('refunds of %%s come to %%s, it cost %%s; the last is entry %%s',
                  r.work, x.refunded, COALESCE(c.cost, 0), r.seq)
             FROM (SELECT t.wallet_id, t.user_id, COALESCE(d.reference_id, t.reference_id) AS work, MAX(t.seq) AS seq
                     FROM s JOIN credit_transactions t ON t.wallet_id = s.wallet_id AND t.seq > s.after_seq
                     LEFT JOIN credit_transactions d ON t.reference_type = 'entry'
                          AND d.id = t.reference_id AND d.wallet_id = t.wallet_id AND d.kind = 'debit'
                    WHERE t.kind = 'refund' GROUP BY 1, 2, 3) r
            CROSS JOIN LATERAL (
                  SELECT -SUM(amount) AS cost FROM credit_transactions
                   WHERE reference_id = r.work AND wallet_id = r.wallet_id AND kind = 'debit') c
            CROSS JOIN LATERAL (
                  SELECT SUM(amount) AS refunded FROM credit_transactions f
                   WHERE f.wallet_id = r.wallet_id AND f.kind = 'refund' AND f.reference_id IN (
                         SELECT r.work UNION ALL SELECT id FROM credit_transactions
                          WHERE reference_id = r.work AND wallet_id = r.wallet_id AND kind = 'debit')) x
            WHERE c.cost IS NOT NULL AND x.refunded > c.cost
               OR c.cost IS NULL AND NOT EXISTS (
                  SELECT 1 FROM credit_transactions d WHERE d.id = r.work AND d.wallet_id = r.wallet_id)""",
    ),
    "L8": (
        # No hold is open past its time.
        """SELECT h.wallet_id, h.user_id, format('hold %%s for %%s %%s is open since %%s', h.id, h.reference_type,
                  h.reference_id, h.created_at)
             FROM s JOIN credit_holds h ON h.wallet_id = s.wallet_id
            WHERE h.status = 'open' AND h.expires_at < clock_timestamp() - make_interval(secs => %(grace_s)s)""",
    ),
    "L9": (
        # The lots add up to what the wallet has.
        """SELECT w.id, w.user_id, format('balance %%s, lots have %%s left', w.balance, COALESCE(SUM(g.remaining), 0))
             FROM s JOIN credit_wallets w ON w.id = s.wallet_id LEFT JOIN credit_grants g ON g.user_id = w.user_id
            GROUP BY w.id, w.user_id, w.balance HAVING COALESCE(SUM(g.remaining), 0) <> GREATEST(w.balance, 0)""",
        # A lot has left what was not allocated of it.
        """SELECT s.wallet_id, s.user_id, format('lot %%s has %%s left of %%s, allocated %%s', g.id, g.remaining,
                  g.amount, COALESCE(SUM(a.amount), 0))
             FROM s JOIN credit_grants g ON g.user_id = s.user_id LEFT JOIN credit_allocations a ON a.grant_id = g.id
            GROUP BY s.wallet_id, s.user_id, g.id
           HAVING g.amount - COALESCE(SUM(a.amount), 0) <> g.remaining""",
        # An entry takes from lots, or gives to them, what it moves the part of the balance that is above zero by; the
        # rest is an overdraft. A lot that it makes counts in full.
        """SELECT t.wallet_id, t.user_id, format('entry %%s (%%s) of %%s has %%s allocated, its move is %%s', t.seq,
                  t.id, t.amount, COALESCE(a.total, 0), COALESCE(g.amount, 0)
                  - GREATEST(t.balance_after, 0) + GREATEST(t.balance_after - t.amount, 0))
             FROM s JOIN credit_transactions t ON t.wallet_id = s.wallet_id AND t.seq > s.after_seq
             LEFT JOIN LATERAL (
                  SELECT SUM(amount) AS total FROM credit_allocations WHERE entry_id = t.id) a ON true
             LEFT JOIN credit_grants g ON g.id = t.grant_id AND t.amount > 0
            WHERE COALESCE(a.total, 0) <> COALESCE(g.amount, 0)
                  - GREATEST(t.balance_after, 0) + GREATEST(t.balance_after - t.amount, 0)""",
        # A lot is what its entry granted. A refund makes one of what the lots that paid can no longer take.
        """SELECT t.wallet_id, t.user_id, format('entry %%s (%%s) of %%s made lot %%s of %%s, or at another time, or '
                  'for another user', t.seq, t.id, t.amount, t.grant_id, g.amount)
             FROM s JOIN credit_transactions t ON t.wallet_id = s.wallet_id AND t.seq > s.after_seq
             LEFT JOIN credit_grants g ON g.id = t.grant_id
            WHERE t.grant_id IS NOT NULL AND t.amount > 0 AND (g.id IS NULL OR g.user_id <> t.user_id
                  OR g.created_at <> t.created_at OR t.kind <> 'refund' AND g.amount <> t.amount)""",
        # The gate looks at lots where the wallet says that some are scoped.
        """SELECT w.id, w.user_id, format('the wallet says that it has scoped lots: %%s', w.has_scoped_lots)
             FROM s JOIN credit_wallets w ON w.id = s.wallet_id
            WHERE w.has_scoped_lots <> EXISTS (SELECT 1 FROM credit_grants g
                  WHERE g.user_id = w.user_id AND g.remaining > 0 AND cardinality(g.aliases) > 0)""",
    ),
    "L11": (
        # A spending limit counts what the events of its subject come to in its period.
        """SELECT s.wallet_id, s.user_id, format('limit %%s (%%s a %%s) counts %%s since %%s, its events come to %%s',
                  l.id, l.subject, l.period, l.spent, l.period_start, x.total)
             FROM s JOIN spending_limits l ON l.user_id = s.user_id CROSS JOIN LATERAL (
                  SELECT COALESCE(SUM(e.credits_charged), 0) AS total FROM charged_events e
                   WHERE e.user_id = l.user_id AND e.created_at >= l.period_start
                     AND e.created_at < (l.period_start AT TIME ZONE l.tz + ('1 ' || l.period)::interval)
                         AT TIME ZONE l.tz
                     AND CASE l.subject WHEN 'room' THEN e.room_id WHEN 'agent' THEN e.agent_id
                         WHEN 'api_key' THEN e.api_key_id ELSE e.user_id END = l.subject_id) x
            WHERE l.spent <> x.total""",
        # The gate looks at limits where the wallet says that there are some.
        """SELECT w.id, w.user_id, format('the wallet says that it has limits: %%s', w.has_limits)
             FROM s JOIN credit_wallets w ON w.id = s.wallet_id
            WHERE w.has_limits <> EXISTS (SELECT 1 FROM spending_limits l WHERE l.user_id = w.user_id)""",
    ),
}


def check_rows(heads: Sequence[Head], found: Findings) -> None:
    parameters = {
        "wallets": [head.id for head in heads],
        "users": [head.user_id for head in heads],
        "after": [head.after_seq for head in heads],
        "grace_s": settings.SWEEP_INTERVAL_S,
    }
    for invariant, queries in QUERIES.items():
        for sql in queries:
            for wallet_id, user_id, detail in rows(_SCOPE + sql, parameters):
                found.add(invariant, UUID(wallet_id), UUID(user_id), detail)
