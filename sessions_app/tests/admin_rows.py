"""What the admin has pages for, in rows."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from billing.anchors import make_anchor
from billing.costs import compare_missed
from billing.models import Alert, AlertDelivery, LedgerCheck
from billing.simulating import runs
from billing.tests.makers import charge, make_hold, make_tool, settle
from config.core.ids import uuid7
from pricing.rating import TokenPools
from pricing.services import find_version
from sessions_app.models import Completion, SessionSummary, TurnContextAudit
from sessions_app.tests.makers import Person, make_ended_turn, make_person, make_session


def make_admin_rows() -> Person:
    """Alice, with a row behind most pages of the admin."""
    alice = make_person("alice")
    turn = make_ended_turn(alice, make_session(alice, "ann"))
    SessionSummary.objects.create(
        session=turn.session,
        turn=turn,
        model_alias="gpt-4o",
        used_fallback=True,
        fallback_reason="unreadable",
        messages=0,
    )
    columns = {field.name: 0 for field in TurnContextAudit._meta.fields if field.get_internal_type() == "IntegerField"}
    TurnContextAudit.objects.create(
        turn=turn, session=turn.session, strategy="pruned", explanation="It did not fit.", model_alias="gpt-4o",
        summary_used_fallback=True, exact=False, calls=[], **columns,
    )  # fmt: skip
    Completion.objects.create(
        user_id=alice.id, model_alias="gpt-4o", status="completed", pricing_version="2026-02-20", pricing_revision=1,
        claim=uuid7(), lease_expires_at=timezone.now(), finished_at=timezone.now(),
    )  # fmt: skip
    LedgerCheck.objects.create(
        started_at=timezone.now(), finished_at=timezone.now(), wallets_checked=1, violations=0, ok=True
    )
    # Below the threshold, and further than the wallet reaches.
    charge(alice.id, TokenPools(output=60_000))
    used = make_hold(alice.id, "0", enforcement="off")
    settle(alice.id, used, make_tool(turn_id=used.id))
    make_hold(alice.id, "1")
    make_hold(alice.id, "50", enforcement="warn")
    AlertDelivery.objects.create(alert=Alert.objects.get(user_id=alice.id), user_id=alice.id)
    compare_missed(timezone.now() + timedelta(days=1))
    make_anchor(timezone.now() - timedelta(days=1))
    runs.ask(find_version(None), days=7, asked_by="test")
    return alice
