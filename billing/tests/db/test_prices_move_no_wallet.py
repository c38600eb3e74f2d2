"""What things cost is changed; what people have is not: no wallet, lot, hold or entry moves with an edit of prices."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from billing.models import CreditAllocation, CreditGrant, CreditHold, CreditTransaction, CreditWallet
from billing.reports.usage import UsageQuery, usage_report
from billing.tests.makers import charge, charge_at, make_call, make_hold, make_wallet
from pricing import lifecycle, services
from pricing.rating import TokenPools
from pricing.tests.makers import SEED, make_next, price_tool

pytestmark = pytest.mark.django_db
MONEY = (CreditWallet, CreditGrant, CreditHold, CreditTransaction, CreditAllocation)
MAY = datetime(2026, 5, 1, tzinfo=UTC)


def everything():
    query = UsageQuery(start=MAY, end=MAY + timedelta(days=31), tz=ZoneInfo("UTC"), group_by=("user", "model_alias"))
    return [list(model.objects.order_by("pk").values_list()) for model in MONEY], usage_report(query)


def test_an_edit_of_prices_moves_no_wallet_and_no_closed_month():
    alice, bob = make_wallet("10"), make_wallet("5")
    charge(alice, TokenPools(output=10_000))
    charge_at(MAY, bob, make_call(TokenPools(output=123), alias="gpt-4o"))
    make_hold(alice, "2")
    before = everything()
    services.set_multiplier(model_alias="gpt-4o", multiplier=Decimal(9), actor="test")
    price_tool("search")
    make_next("next")
    services.remove_model(pricing_version="next", model_alias="gpt-4o", actor="test")
    lifecycle.activate(pricing_version="next", actor="test")
    assert everything() == before
    lifecycle.roll_back(pricing_version=SEED, actor="test")
    assert everything() == before
