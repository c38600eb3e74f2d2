"""One crossing, many settlements; one message, many senders."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from billing.alerts import delivering, endpoints
from billing.alerts.expiring import find_expiring
from billing.alerts.fan_out import fan_out
from billing.models import Alert, AlertDelivery, CreditWallet
from billing.tests.makers import charge, credits, make_call, make_hold, make_wallet, settle
from billing.tests.receiver import Receiver
from config.core.errors import ValidationFailed
from config.core.tests.racing import at_once
from pricing.rating import TokenPools
from sessions_app.tests.makers import make_person

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _settings(settings):
    settings.LOW_BALANCE_THRESHOLD = credits("5")
    settings.WEBHOOK_ALLOW_PRIVATE = True


def test_twenty_settlements_across_the_threshold_alert_once():
    user_id = make_wallet("20")
    references = [make_hold(user_id, "1") for _ in range(20)]

    def settling(reference):
        return lambda: settle(user_id, reference, make_call(TokenPools(output=10_000), turn_id=reference.id))

    results = at_once(*[settling(reference) for reference in references])
    assert not [result for result in results if isinstance(result, Exception)]
    assert CreditWallet.objects.get(user_id=user_id).balance == 0
    kinds = Alert.objects.filter(user_id=user_id).order_by("kind").values_list("kind", "balance")
    assert [(kind, int(balance)) for kind, balance in kinds] == [("balance_empty", 0), ("low_balance", 4)]


def test_a_lot_found_by_six_at_once_is_told_of_once():
    make_wallet("6", expires_at=timezone.now() + timedelta(days=2))
    assert sum(at_once(*[find_expiring] * 6)) == 1
    assert Alert.objects.filter(kind="credits_expiring").count() == 1


def test_workers_at_once_send_each_message_once():
    with Receiver() as receiver:
        people = [make_person(f"p{number}") for number in range(6)]
        for person in people:
            endpoints.make_endpoint(user_id=person.id, url=receiver.url)
            charge(person.id, TokenPools(output=60_000))
        assert sum(at_once(*[fan_out] * 4)) == 6
        assert sum(at_once(*[delivering.deliver_due] * 3)) == 6
        assert len(receiver.received) == 6
        assert len({got.id for got in receiver.received}) == 6
    assert AlertDelivery.objects.filter(status="delivered").count() == 6


def test_twelve_endpoints_at_once_are_ten():
    alice = make_person("alice")

    def making():
        return endpoints.make_endpoint(user_id=alice.id, url="http://127.0.0.1:9/hook")

    results = at_once(*[making] * 12)
    assert sum(isinstance(result, ValidationFailed) for result in results) == 2
