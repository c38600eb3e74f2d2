"""The nightly comparison on two machines at once."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from billing.costs import compare_missed
from billing.models import CostDay, CostFinding
from billing.tests.makers import make_call, make_hold, make_wallet, settle
from config.core.tests.racing import at_once

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_day_compared_by_four_at_once_is_stored_once():
    for user_id in (make_wallet("10"), make_wallet("10")):
        reference = make_hold(user_id, "2")
        aliases = ("gpt-4o-mini", "gemini-flash")
        settle(user_id, reference, *[
            make_call(alias=alias, turn_id=reference.id, call_index=index) for index, alias in enumerate(aliases, 1)
        ])  # fmt: skip
    tomorrow = timezone.now() + timedelta(days=1)
    results = at_once(*[lambda: compare_missed(tomorrow)] * 4)
    assert not [result for result in results if isinstance(result, Exception)]
    assert sorted(CostDay.objects.values_list("model_alias", "calls", "credits_charged")) == [
        ("gemini-flash", 2, Decimal("1.6")),
        ("gpt-4o-mini", 2, Decimal(2)),
    ]
    assert sorted(CostFinding.objects.values_list("kind", "model_alias")) == [
        ("cost_unknown", "gemini-flash"),
        ("cost_unknown", "gpt-4o-mini"),
    ]
