"""Alerts: once per crossing, written with the money; and how they are delivered, whatever the receiver does."""

from __future__ import annotations

import time
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core import mail
from django.db import transaction
from django.utils import timezone

from billing import ledger
from billing.alerts import delivering, endpoints, preferences, sending
from billing.alerts.expiring import find_expiring
from billing.alerts.fan_out import fan_out
from billing.alerts.outbox import DELAYS_S
from billing.models import Alert, AlertDelivery, CreditGrant, WebhookEndpoint
from billing.tests.makers import charge, credits, make_call, make_hold, make_wallet, settle
from billing.tests.receiver import Receiver
from config.core.errors import NotFound, ValidationFailed
from config.core.ids import uuid7
from pricing.rating import TokenPools
from sessions_app.tests.makers import make_person
from users.models import User

pytestmark = pytest.mark.django_db
ONE = TokenPools(output=10_000)


@pytest.fixture(autouse=True)
def _settings(settings):
    settings.LOW_BALANCE_THRESHOLD = credits("5")
    settings.WEBHOOK_ALLOW_PRIVATE = True


@pytest.fixture
def receiver():
    with Receiver() as serving:
        yield serving


def alerts(user_id):
    return list(Alert.objects.filter(user_id=user_id).order_by("id").values_list("kind", flat=True))


def give(user_id, amount, **grant):
    ledger.grant(user_id=user_id, amount=credits(amount), reason="x", initiated_by="t", **grant)


# Crossings


def test_a_balance_that_falls_below_the_threshold_alerts_once_until_it_has_recovered():
    user_id = make_wallet("6")
    charge(user_id, ONE)
    # Exactly on it is not below it.
    assert alerts(user_id) == []
    charge(user_id, TokenPools(output=1))
    assert alerts(user_id) == ["low_balance"]
    charge(user_id, ONE)
    charge(user_id, ONE)
    give(user_id, "1")
    charge(user_id, ONE)
    assert alerts(user_id) == ["low_balance"]
    give(user_id, "10")
    charge(user_id, *[ONE] * 9)
    assert alerts(user_id) == ["low_balance", "low_balance"]
    row = Alert.objects.filter(user_id=user_id).latest("id")
    assert (row.balance, row.threshold) == (Decimal("3.9999"), Decimal(5))


def test_one_settlement_that_crosses_both_lines_alerts_of_both_with_its_last_balance():
    user_id = make_wallet("6")
    charge(user_id, *[ONE] * 7)
    assert sorted(alerts(user_id)) == ["balance_empty", "low_balance"]
    assert {alert.balance for alert in Alert.objects.filter(user_id=user_id)} == {Decimal(-1)}
    charge(user_id, ONE)
    assert len(alerts(user_id)) == 2


@pytest.mark.parametrize("how", ["adjust", "void", "expire"])
def test_whatever_takes_credits_away_alerts(how):
    user_id = make_wallet("6", expires_at=timezone.now() + timedelta(days=1))
    lot = CreditGrant.objects.get(user_id=user_id)
    if how == "adjust":
        ledger.adjust(user_id=user_id, amount=credits("-6"), reason="x", initiated_by="t")
    elif how == "void":
        ledger.void(user_id=user_id, grant_id=lot.id, reason="x", initiated_by="t")
    else:
        CreditGrant.objects.filter(id=lot.id).update(expires_at=timezone.now() - timedelta(seconds=1))
        ledger.expire_lots(user_id=user_id)
    assert sorted(alerts(user_id)) == ["balance_empty", "low_balance"]


def test_a_wallet_that_begins_low_or_grows_alerts_nobody(settings):
    settings.BETA_GRANT_CREDITS = credits("3")
    user_id = uuid7()
    ledger.get_or_create_wallet(user_id=user_id)
    give(user_id, "1")
    make_hold(user_id, "1")
    assert alerts(user_id) == []


def test_a_settlement_that_is_rolled_back_alerts_nobody():
    user_id = make_wallet("6")
    reference = make_hold(user_id, "3")
    with pytest.raises(RuntimeError), transaction.atomic():
        settle(user_id, reference, make_call(TokenPools(output=30_000), turn_id=reference.id))
        assert alerts(user_id) == ["low_balance"]
        raise RuntimeError
    assert alerts(user_id) == []
    for _ in range(2):
        settle(user_id, reference, make_call(TokenPools(output=30_000), turn_id=reference.id))
    assert alerts(user_id) == ["low_balance"]


def test_a_lot_that_ends_soon_is_told_of_once():
    alice, bob = make_wallet("0"), make_wallet("0")
    give(alice, "6", expires_at=timezone.now() + timedelta(days=6))
    give(alice, "2", expires_at=timezone.now() + timedelta(days=8))
    give(bob, "6")
    assert (find_expiring(), find_expiring()) == (1, 0)
    [alert] = Alert.objects.filter(user_id=alice)
    assert (alert.kind, alert.remaining, alert.balance) == ("credits_expiring", Decimal(6), Decimal(8))
    CreditGrant.objects.filter(user_id=alice, amount=2).update(expires_at=timezone.now() + timedelta(days=5))
    assert find_expiring() == 1
    assert alerts(bob) == []


# Delivery


def low(person):
    """Cross the threshold of somebody with 10 credits, and fan the alert out."""
    charge(person.id, TokenPools(output=60_000))
    fan_out()
    return Alert.objects.get(user_id=person.id, kind="low_balance")


def deliver():
    return delivering.work("webhook", time.monotonic() + 20)


def due_now():
    AlertDelivery.objects.filter(status="pending").update(next_attempt_at=timezone.now() - timedelta(seconds=1))
    WebhookEndpoint.objects.update(busy_until=None)


def endpoint(person, receiver, **fields):
    return endpoints.make_endpoint(user_id=person.id, url=receiver.url, **fields)


def test_an_alert_arrives_signed_and_says_what_happened(receiver):
    alice, bob = make_person("alice"), make_person("bob")
    made = endpoint(alice, receiver)
    with Receiver() as bobs:
        endpoint(bob, bobs)
        alert = low(alice)
        assert deliver() == 1
        assert bobs.received == []
    [got] = receiver.received
    message = got.verified(made.secret)
    assert message == {
        "type": "low_balance",
        "timestamp": alert.created_at.isoformat().replace("+00:00", "Z"),
        "data": {
            "alert_id": str(alert.id), "user_id": str(alice.id), "balance": "4.00000000", "threshold": "5.00000000",
        },
    }  # fmt: skip
    delivery = AlertDelivery.objects.get(alert=alert)
    assert (str(delivery.id), delivery.status, delivery.attempts, delivery.http_status) == (
        got.id, "delivered", 1, 200,
    )  # fmt: skip
    assert deliver() == 0
    fan_out()
    assert AlertDelivery.objects.filter(alert=alert).count() == 1


def test_an_endpoint_hears_what_it_asked_for_and_staffs_hears_of_everybody(receiver):
    alice = make_person("alice")
    endpoint(alice, receiver, kinds=["balance_empty"])
    with Receiver() as everywhere:
        endpoints.store(WebhookEndpoint(url=everywhere.url))
        low(alice)
        assert deliver() == 1
        assert (len(receiver.received), len(everywhere.received)) == (0, 1)


@pytest.mark.parametrize("status", [301, 400, 404, 429, 500, 503])
def test_what_is_not_taken_is_sent_again_with_back_off_under_the_same_id_and_fails_in_the_end(receiver, status):
    alice = make_person("alice")
    made = endpoint(alice, receiver)
    low(alice)
    receiver.status = status
    for attempt, delay_s in enumerate(DELAYS_S, start=1):
        before = timezone.now()
        assert deliver() == 1
        row = AlertDelivery.objects.get()
        assert (row.status, row.attempts, row.http_status, row.last_error) == (
            "pending", attempt, status, f"http_{status}",
        )  # fmt: skip
        wait = (row.next_attempt_at - before).total_seconds()
        assert 0.8 * delay_s <= wait <= 1.2 * delay_s + 5
        assert deliver() == 0
        due_now()
    assert deliver() == 1
    assert AlertDelivery.objects.get().status == "failed"
    due_now()
    assert deliver() == 0
    assert len({got.id for got in receiver.received}) == 1
    assert [got.verified(made.secret)["type"] for got in receiver.received] == ["low_balance"] * (len(DELAYS_S) + 1)


def test_one_that_recovers_has_it_delivered(receiver):
    alice = make_person("alice")
    endpoint(alice, receiver)
    low(alice)
    receiver.status = 500
    deliver()
    assert WebhookEndpoint.objects.get().failing_since is not None
    receiver.status = 204
    due_now()
    deliver()
    assert AlertDelivery.objects.get().status == "delivered"
    assert WebhookEndpoint.objects.get().failing_since is None


def test_gone_switches_an_endpoint_off(receiver):
    alice = make_person("alice")
    endpoint(alice, receiver)
    low(alice)
    receiver.status = 410
    deliver()
    assert WebhookEndpoint.objects.get().disabled_at is not None
    assert AlertDelivery.objects.get().status == "failed"
    charge(alice.id, TokenPools(output=50_000))
    fan_out()
    assert deliver() == 0
    assert len(receiver.received) == 1


def test_who_dies_after_sending_has_it_sent_again_under_the_same_id(receiver, monkeypatch):
    alice = make_person("alice")
    endpoint(alice, receiver)
    low(alice)

    class Killed(BaseException):
        pass

    def dies(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(delivering.outbox, "delivered", dies)
        with pytest.raises(Killed):
            deliver()
    # Its lease is not over yet: nobody else sends it.
    assert deliver() == 0
    due_now()
    assert deliver() == 1
    assert [got.id for got in receiver.received] == [str(AlertDelivery.objects.get().id)] * 2


def test_one_that_hangs_is_left_and_the_others_are_told(receiver, monkeypatch):
    monkeypatch.setattr(sending, "TIMEOUT_S", 0.3)
    alice, bob = make_person("alice"), make_person("bob")
    receiver.behave = receiver.hang
    endpoint(alice, receiver)
    with Receiver() as bobs:
        endpoint(bob, bobs)
        low(alice)
        low(bob)
        assert deliver() == 2
        assert len(bobs.received) == 1
    assert AlertDelivery.objects.get(user_id=alice.id).last_error == "timeout"
    assert AlertDelivery.objects.get(user_id=bob.id).status == "delivered"


def test_an_address_that_has_become_private_is_not_called(receiver, settings):
    alice = make_person("alice")
    endpoint(alice, receiver)
    low(alice)
    settings.WEBHOOK_ALLOW_PRIVATE = False
    deliver()
    row = AlertDelivery.objects.get()
    assert (row.status, row.http_status, receiver.received) == ("pending", None, [])
    assert row.last_error != ""


def test_who_is_switched_off_is_told_nothing(receiver):
    alice, bob = make_person("alice"), make_person("bob")
    endpoint(alice, receiver)
    endpoint(bob, receiver)
    User.objects.filter(pk=bob.id).update(is_active=False)
    low(alice)
    low(bob)
    User.objects.filter(pk=alice.id).update(is_active=False)
    deliver()
    assert receiver.received == []
    assert list(AlertDelivery.objects.values_list("user_id", "status")) == [(alice.id, "dropped")]


def test_a_user_who_goes_takes_endpoints_along_and_leaves_the_alerts(receiver):
    alice, bob = make_person("alice"), make_person("bob")
    endpoint(alice, receiver)
    endpoint(bob, receiver)
    low(alice)
    preferences.set_mail(alice.id, is_wanted=False)
    preferences.forget_user(user_id=alice.id)
    assert deliver() == 0
    assert list(WebhookEndpoint.objects.values_list("user_id", flat=True)) == [bob.id]
    assert preferences.wants_mail(alice.id)
    assert alerts(alice.id) == ["low_balance"]


# Mail


@pytest.fixture
def mails(settings):
    settings.EMAIL_IS_CONFIGURED = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    settings.DEFAULT_FROM_EMAIL = "tally@example.com"
    mail.outbox = []


def send_mails():
    return delivering.work("mail", time.monotonic() + 20)


def test_a_mail_goes_to_who_wants_it(mails):
    alice, bob = make_person("alice"), make_person("bob")
    preferences.set_mail(bob.id, is_wanted=False)
    low(alice)
    low(bob)
    assert send_mails() == 1
    [sent] = mail.outbox
    assert (sent.to, sent.subject) == ([alice.email], "Your credits are running low")
    assert "below 5.00000000 credits. It was 4.00000000 at" in sent.body
    row = AlertDelivery.objects.get()
    assert (row.status, sent.extra_headers["Message-ID"]) == ("delivered", f"<{row.id}@example.com>")
    assert send_mails() == 0


def test_every_kind_has_its_mail(mails):
    alice = make_person("alice", credits="0")
    give(alice.id, "6", expires_at=timezone.now() + timedelta(days=2))
    find_expiring()
    charge(alice.id, TokenPools(output=60_000))
    fan_out()
    assert send_mails() == 3
    assert len({sent.subject for sent in mail.outbox}) == 3
    assert not [sent for sent in mail.outbox if "{{" in sent.body or "None" in sent.body]


def test_a_mail_server_that_is_away_is_tried_again(mails, monkeypatch):
    alice = make_person("alice")
    low(alice)
    with monkeypatch.context() as patched:
        patched.setattr(delivering, "send_mail", lambda *_: (_ for _ in ()).throw(ConnectionRefusedError()))
        send_mails()
    row = AlertDelivery.objects.get()
    assert (row.status, row.attempts, row.last_error) == ("pending", 1, "connection_ConnectionRefusedError")
    due_now()
    send_mails()
    assert (AlertDelivery.objects.get().status, len(mail.outbox)) == ("delivered", 1)


def test_without_a_mail_server_none_is_sent(settings):
    settings.EMAIL_IS_CONFIGURED = False
    low(make_person("alice"))
    assert not AlertDelivery.objects.exists()


# Endpoints


def test_a_user_has_ten_endpoints_at_most(receiver):
    alice, bob = make_person("alice"), make_person("bob")
    for _ in range(10):
        endpoint(alice, receiver)
    with pytest.raises(ValidationFailed):
        endpoint(alice, receiver)
    endpoint(bob, receiver)
    assert WebhookEndpoint.objects.filter(user_id=alice.id).count() == 10


def test_bobs_endpoint_is_not_alices_to_test_or_delete(receiver):
    alice, bob = make_person("alice"), make_person("bob")
    made = endpoint(bob, receiver)
    for attempt in (endpoints.ping, endpoints.delete_endpoint):
        with pytest.raises(NotFound):
            attempt(user_id=alice.id, endpoint_id=made.row.id)
    assert (WebhookEndpoint.objects.count(), AlertDelivery.objects.count()) == (1, 0)


def test_a_ping_is_sent_once(receiver):
    alice = make_person("alice")
    made = endpoint(alice, receiver)
    first, second = (endpoints.ping(user_id=alice.id, endpoint_id=made.row.id) for _ in range(2))
    assert first.id == second.id
    receiver.status = 500
    assert deliver() == 1
    assert AlertDelivery.objects.get().status == "failed"
    assert receiver.received[0].verified(made.secret)["type"] == "ping"


def test_a_secret_is_kept_sealed(receiver):
    made = endpoint(make_person("alice"), receiver)
    row = WebhookEndpoint.objects.get()
    assert made.secret.startswith("whsec_")
    assert made.secret not in str(WebhookEndpoint.objects.values().get())
    assert made.secret.startswith(row.secret_prefix)
    assert len(row.secret_prefix) < len(made.secret) / 2


# What receivers may provoke


@pytest.mark.parametrize("size", ["-5", "-1", "fffffffff"])
def test_a_receiver_that_lies_about_the_size_of_its_answer_is_answered_like_any_other(receiver, size):
    """http.client would take a negative size for "to the end", or fail in a way that is no network error."""
    alice = make_person("alice")

    def lie(handler):
        handler.wfile.write(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\nabc".encode())

    receiver.behave = lie
    made = endpoints.make_endpoint(user_id=alice.id, url=receiver.url)
    endpoints.ping(user_id=alice.id, endpoint_id=made.row.id)
    assert delivering.work("webhook", time.monotonic() + 20) == 1
    [row] = AlertDelivery.objects.all()
    assert (row.status, row.attempts, row.http_status) == ("delivered", 1, 200)


def test_what_breaks_one_delivery_is_recorded_as_its_own_and_the_next_one_is_sent(receiver, monkeypatch):
    alice, bob = make_person("alice"), make_person("bob")
    for person in (alice, bob):
        made = endpoints.make_endpoint(user_id=person.id, url=receiver.url)
        endpoints.ping(user_id=person.id, endpoint_id=made.row.id)
    real = sending.post
    broken = iter([True])

    def post(url, **request):
        if next(broken, False):
            raise ValueError("nobody thought of this")
        return real(url, **request)

    monkeypatch.setattr(sending, "post", post)
    assert delivering.work("webhook", time.monotonic() + 20) == 2
    first, second = AlertDelivery.objects.order_by("id")
    assert (first.user_id, first.attempts, first.last_error) == (alice.id, 1, "internal_error")
    assert (second.user_id, second.status, len(receiver.received)) == (bob.id, "delivered", 1)


def test_nobody_writes_to_an_address_that_stands_for_none(settings):
    stranger = make_person("alice")
    User.objects.filter(pk=stranger.id).update(email=f"{stranger.id}@identity.invalid")
    charge(stranger.id, TokenPools(output=60_000))
    fan_out()
    delivering.work("mail", time.monotonic() + 20)
    assert mail.outbox == []
    assert not AlertDelivery.objects.filter(endpoint=None, status="delivered").exists()
