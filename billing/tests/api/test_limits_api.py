"""Spending limits over HTTP: one's own, and staff's."""

from __future__ import annotations

from decimal import Decimal

import pytest
from rest_framework.test import APIClient

from billing.ledger import Place
from billing.models import SpendingLimit
from billing.tests.makers import make_call, make_hold, settle
from config.core.ids import uuid7
from sessions_app.models import Agent, Session
from sessions_app.tests.makers import make_person, make_session
from users import api_keys
from users.models import User

pytestmark = pytest.mark.django_db
MINE = "/api/v1/users/me/spending-limits"


def client_of(person, token=None):
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token or person.token}")
    return client


@pytest.fixture
def alice():
    return make_person("alice")


def room_of(person):
    return Session.objects.get(id=make_session(person, "ann")).room_id


def test_a_room_is_capped_per_day_in_ones_own_time_zone(alice):
    room = room_of(alice)
    client = client_of(alice)
    body = {"subject": "room", "subject_id": str(room), "period": "day", "amount": "2", "tz": "Asia/Kathmandu"}
    made = client.post(MINE, body)
    assert made.status_code == 201, made.json()
    assert (made.json()["spent"], made.json()["held"], made.json()["set_by"]) == ("0.00000000", "0.00000000", "owner")
    assert made.json()["resets_at"].endswith("T18:15:00Z")
    reference = make_hold(alice.id, "0.5", place=Place(room_id=room))
    settle(alice.id, reference, make_call(turn_id=reference.id, room_id=room))
    make_hold(alice.id, "0.25", place=Place(room_id=room))
    [listed] = client.get(MINE).json()["results"]
    assert (listed["amount"], listed["spent"], listed["held"]) == ("2.00000000", "1.00000000", "0.25000000")
    changed = client.patch(f"{MINE}/{listed['id']}", {"amount": "3"})
    assert (changed.status_code, changed.json()["amount"], changed.json()["spent"]) == (200, "3.00000000", "1.00000000")
    assert client.delete(f"{MINE}/{listed['id']}").status_code == 204
    assert client.get(MINE).json() == {"results": []}


@pytest.mark.parametrize("subject", ["room", "agent", "api_key"])
def test_bobs_things_are_not_alices_to_cap(alice, subject):
    bob = make_person("bob")
    room = room_of(bob)
    theirs = {
        "room": room,
        "agent": Agent.objects.get(user_id=bob.id).id,
        "api_key": api_keys.issue(User.objects.get(pk=bob.id), name="ci").row.id,
    }[subject]
    body = {"subject": subject, "subject_id": str(theirs), "period": "day", "amount": "2"}
    answer = client_of(alice).post(MINE, body)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert not SpendingLimit.objects.exists()
    assert client_of(bob).post(MINE, body).status_code == 201
    limit = SpendingLimit.objects.get()
    for answer in (
        client_of(alice).patch(f"{MINE}/{limit.id}", {"amount": "9"}),
        client_of(alice).delete(f"{MINE}/{limit.id}"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert SpendingLimit.objects.get().amount == Decimal(2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", "-1"), ("amount", "NaN"), ("amount", 5), ("amount", "0.000000001"), ("amount", None),
        ("period", "week"), ("subject", "user"), ("subject", "x"), ("subject_id", "x"), ("tz", "Mars/Olympus"),
        ("tz", "localtime"), ("surprise", 1),
    ],
)  # fmt: skip
def test_a_bad_limit_is_refused_by_its_field(alice, field, value):
    body = {"subject": "room", "subject_id": str(room_of(alice)), "period": "day", "amount": "2", field: value}
    answer = client_of(alice).post(MINE, body, format="json")
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert not SpendingLimit.objects.exists()


def test_a_second_one_of_its_kind_is_refused(alice):
    body = {"subject": "room", "subject_id": str(room_of(alice)), "period": "day", "amount": "2"}
    assert client_of(alice).post(MINE, body).status_code == 201
    again = client_of(alice).post(MINE, {**body, "amount": "9"})
    assert (again.status_code, again.json()["errors"][0]["code"]) == (422, "unique")
    assert SpendingLimit.objects.get().amount == Decimal(2)


def test_a_key_sees_limits_and_lifts_none(alice):
    issued = api_keys.issue(User.objects.get(pk=alice.id), name="ci")
    body = {"subject": "api_key", "subject_id": str(issued.row.id), "period": "month", "amount": "2"}
    limit = client_of(alice).post(MINE, body).json()
    machine = client_of(alice, issued.key)
    assert machine.get(MINE).json()["results"][0]["id"] == limit["id"]
    for answer in (
        machine.post(MINE, {**body, "period": "day"}),
        machine.patch(f"{MINE}/{limit['id']}", {"amount": "99"}),
        machine.delete(f"{MINE}/{limit['id']}"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert SpendingLimit.objects.get().amount == Decimal(2)


def test_staff_cap_a_user_who_sees_it_and_cannot_change_it(alice):
    staff = client_of(make_person("staff", is_staff=True, is_superuser=True))
    url = f"/api/v1/admin/users/{alice.id}/spending-limits"
    made = staff.post(url, {"period": "month", "amount": "50", "tz": "Europe/Berlin"})
    assert (made.status_code, made.json()["subject"], made.json()["set_by"]) == (201, "user", "staff")
    assert made.json()["subject_id"] == str(alice.id)
    [seen] = client_of(alice).get(MINE).json()["results"]
    assert (seen["id"], seen["set_by"]) == (made.json()["id"], "staff")
    assert client_of(alice).patch(f"{MINE}/{seen['id']}", {"amount": "99"}).status_code == 404
    assert client_of(alice).delete(f"{MINE}/{seen['id']}").status_code == 404
    assert staff.patch(f"{url}/{seen['id']}", {"amount": "60"}).json()["amount"] == "60.00000000"
    assert staff.get(url).json()["results"][0]["amount"] == "60.00000000"
    assert staff.delete(f"{url}/{seen['id']}").status_code == 204
    assert not SpendingLimit.objects.exists()


def test_only_staff_with_the_right_cap_users(alice):
    url = f"/api/v1/admin/users/{alice.id}/spending-limits"
    plain = make_person("plain", is_staff=True)
    for person, code in ((alice, "admin_required"), (plain, "permission_denied")):
        answer = client_of(person).post(url, {"period": "day", "amount": "1"})
        assert (answer.status_code, answer.json()["code"]) == (403, code)
        assert client_of(person).get(url).json()["code"] == code
    staff = client_of(make_person("staff", is_staff=True, is_superuser=True))
    nobody = f"/api/v1/admin/users/{uuid7()}/spending-limits"
    assert staff.post(nobody, {"period": "day", "amount": "1"}).status_code == 404
    assert not SpendingLimit.objects.exists()
