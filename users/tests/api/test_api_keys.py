"""Keys for machines: made with a login, shown once, good for everything but keys, ended at once."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone

from users import api_keys
from users.models import ApiKey
from users.tests.makers import make_token, make_user

pytestmark = pytest.mark.django_db
KEYS, ME = "/api/v1/users/me/api-keys", "/api/v1/auth/me"


@pytest.fixture
def alice():
    return make_user()


@pytest.fixture
def bob():
    return make_user("bob@example.com")


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def made(client, user, **body):
    answer = client.post(KEYS, {"name": "CI", **body}, headers=bearer(make_token(user)))
    assert answer.status_code == 201, answer.json()
    return answer.json()


def code(answer):
    return answer.status_code, answer.json().get("code")


def test_a_key_is_shown_once_and_kept_as_a_digest(client, alice):
    issued = made(client, alice)
    assert set(issued) == {"id", "name", "prefix", "key", "expires_at", "created_at"}
    assert (issued["name"], issued["expires_at"]) == ("CI", None)
    assert issued["key"].startswith(issued["prefix"])
    assert len(issued["key"]) == 49
    row = ApiKey.objects.get()
    assert issued["key"] not in {str(getattr(row, field.name)) for field in row._meta.fields}
    (listed,) = client.get(KEYS, headers=bearer(make_token(alice))).json()["results"]
    assert listed == {name: value for name, value in issued.items() if name != "key"}
    assert client.get(ME, headers=bearer(issued["key"])).json()["email"] == alice.email


def test_a_revoked_key_is_refused_at_once_and_its_row_stays(client, alice):
    issued = made(client, alice)
    path = f"{KEYS}/{issued['id']}"
    login = bearer(make_token(alice))
    assert client.delete(path, headers=login).status_code == 204
    assert code(client.get(ME, headers=bearer(issued["key"]))) == (401, "token_invalid")
    assert client.get(KEYS, headers=login).json()["results"] == []
    assert ApiKey.objects.get().revoked_at is not None
    assert code(client.delete(path, headers=login)) == (404, "not_found")


def test_bob_neither_sees_nor_revokes_alices_key(client, alice, bob):
    issued = made(client, alice)
    his = bearer(make_token(bob))
    assert client.get(KEYS, headers=his).json()["results"] == []
    assert code(client.delete(f"{KEYS}/{issued['id']}", headers=his)) == (404, "not_found")
    assert client.get(ME, headers=bearer(issued["key"])).status_code == 200


def test_a_key_makes_lists_and_ends_no_keys(client, alice):
    issued = made(client, alice)
    with_key = bearer(issued["key"])
    for answer in (
        client.post(KEYS, {"name": "another"}, headers=with_key),
        client.get(KEYS, headers=with_key),
        client.delete(f"{KEYS}/{issued['id']}", headers=with_key),
    ):
        assert code(answer) == (403, "permission_denied")
    assert ApiKey.objects.get().revoked_at is None


def test_a_key_that_has_ended_or_whose_user_is_switched_off_is_refused(client, alice):
    issued = made(client, alice, expires_at=(timezone.now() + timedelta(hours=1)).isoformat())
    assert client.get(ME, headers=bearer(issued["key"])).status_code == 200
    ApiKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert code(client.get(ME, headers=bearer(issued["key"]))) == (401, "token_invalid")
    ApiKey.objects.update(expires_at=None)
    alice.is_active = False
    alice.save()
    assert code(client.get(ME, headers=bearer(issued["key"]))) == (401, "token_invalid")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x" * 101},
        {"name": 7},
        {"name": "CI", "expires_at": "yesterday"},
        {"name": "CI", "expires_at": "2020-01-01T00:00:00Z"},
        {"name": "CI", "key": "mine"},
    ],
)
def test_bad_input_makes_no_key(client, alice, body):
    assert code(client.post(KEYS, body, headers=bearer(make_token(alice)))) == (422, "validation_error")
    assert ApiKey.objects.count() == 0


def test_there_is_an_end_to_how_many(client, alice, monkeypatch):
    monkeypatch.setattr(api_keys, "KEYS_MAX", 2)
    made(client, alice)
    second = made(client, alice)
    login = bearer(make_token(alice))
    assert code(client.post(KEYS, {"name": "third"}, headers=login)) == (422, "validation_error")
    client.delete(f"{KEYS}/{second['id']}", headers=login)
    made(client, alice)
    assert api_keys.keys_of(alice).count() == 2


@pytest.mark.parametrize("key", ["tally_", "tally_x", "tally_" + "a" * 43, "TALLY_" + "a" * 43])
def test_a_key_that_nobody_made_is_refused(client, key):
    assert code(client.get(ME, headers=bearer(key))) == (401, "token_invalid")


def test_logging_out_with_a_key_revokes_it(client, alice):
    issued = made(client, alice)
    assert client.post("/api/v1/auth/logout", headers=bearer(issued["key"])).status_code == 204
    assert code(client.get(ME, headers=bearer(issued["key"]))) == (401, "token_invalid")


def test_the_command_prints_the_key_alone(client, alice):
    out, log = StringIO(), StringIO()
    call_command("create_api_key", "ALICE@example.com", name="cron", stdout=out, stderr=log)
    key = out.getvalue().strip()
    assert client.get(ME, headers=bearer(key)).json()["id"] == str(alice.id)
    assert (ApiKey.objects.get().name, key in log.getvalue()) == ("cron", False)
    for email, name in (("nobody@example.com", "cron"), (alice.email, " ")):
        with pytest.raises(CommandError):
            call_command("create_api_key", email, name=name, stdout=out, stderr=log)
    assert ApiKey.objects.count() == 1


def test_staff_revoke_but_never_see_a_key(client, alice, admin_client):
    issued = made(client, alice)
    page = admin_client.get(reverse("admin:users_apikey_changelist"))
    assert issued["prefix"] in page.content.decode()
    assert issued["key"] not in page.content.decode()
    chosen = {"action": "revoke", "_selected_action": issued["id"]}
    assert admin_client.post(reverse("admin:users_apikey_changelist"), chosen).status_code == 302
    assert code(client.get(ME, headers=bearer(issued["key"]))) == (401, "token_invalid")
