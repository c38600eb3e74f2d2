"""The ledger's check and its anchors for staff: who may, what it says, and that it names what is broken."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from billing import anchors, checking_views, closing
from billing.models import CreditWallet, LedgerAnchor, LedgerCheck
from billing.tests.db.test_invariants import damage
from billing.tests.makers import charge
from config.core.ids import uuid7
from pricing.rating import TokenPools
from sessions_app.tests.makers import PASSWORD, make_person
from users.models import User

pytestmark = pytest.mark.django_db
CHECK, ANCHORS = "/api/v1/admin/ledger/check", "/api/v1/admin/ledger/anchors"


def get(person, path, **query):
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {person.token}")
    return client.get(path, query)


@pytest.fixture
def staff():
    return make_person("staff", is_staff=True, is_superuser=True, credits="0")


@pytest.fixture
def people():
    return [make_person(name) for name in ("alice", "bob")]


def break_the_balance(person):
    damage("UPDATE credit_wallets SET balance = balance + 1 WHERE user_id = %(user)s", user=person.id)


def test_a_full_check_says_what_it_read_and_is_recorded(staff, people):
    answer = get(staff, CHECK)
    assert answer.status_code == 200
    body = answer.json()
    assert body.pop("started_at") <= body.pop("finished_at")
    assert body == {
        "ok": True, "checked": "full", "user_id": None, "wallets_checked": 3, "entries_checked": 2, "violations": 0,
        "findings": [],
    }  # fmt: skip
    assert LedgerCheck.objects.count() == 1


def test_a_check_of_what_is_new_reads_that_alone(staff, people):
    get(staff, CHECK)
    charge(people[0].id, TokenPools(output=10_000))
    body = get(staff, CHECK, scope="new").json()
    assert (body["ok"], body["checked"], body["wallets_checked"], body["entries_checked"]) == (True, "new", 1, 2)
    assert LedgerCheck.objects.count() == 1


@pytest.mark.breaks_the_ledger
def test_findings_name_invariant_wallet_and_user(staff, people):
    alice, bob = people
    break_the_balance(alice)
    body = get(staff, CHECK).json()
    assert (body["ok"], body["violations"]) == (False, 2)
    wallet = CreditWallet.objects.get(user_id=alice.id)
    assert {(item["invariant"], item["wallet_id"], item["user_id"]) for item in body["findings"]} == {
        ("L1", str(wallet.id), str(alice.id)), ("L9", str(wallet.id), str(alice.id)),
    }  # fmt: skip
    for person, violations in ((alice, 2), (bob, 0)):
        one = get(staff, CHECK, user_id=str(person.id)).json()
        assert (one["violations"], one["wallets_checked"], one["user_id"]) == (violations, 1, str(person.id))
    assert LedgerCheck.objects.count() == 1


@pytest.mark.breaks_the_ledger
def test_only_the_first_findings_are_shown_and_all_are_counted(staff, people, monkeypatch):
    monkeypatch.setattr(checking_views, "FINDINGS_SHOWN", 3)
    for person in people:
        break_the_balance(person)
    body = get(staff, CHECK).json()
    assert (len(body["findings"]), body["violations"]) == (3, 4)


@pytest.mark.parametrize("query", [{"scope": "some"}, {"user_id": "7"}])
def test_a_query_that_makes_no_sense_is_refused(staff, query):
    answer = get(staff, CHECK, **query)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert not LedgerCheck.objects.exists()


def test_a_user_without_a_wallet_cannot_be_checked(staff):
    assert get(staff, CHECK, user_id=str(uuid7())).status_code == 404


@pytest.mark.parametrize(("path", "right"), [(CHECK, "view_ledgercheck"), (ANCHORS, "view_ledgeranchor")])
def test_who_may_look(path, right, people, settings):
    alice, bob = people
    assert APIClient().get(path).status_code == 401
    refused = get(alice, path)
    assert (refused.status_code, refused.json()["code"]) == (403, "admin_required")
    helper = make_person("helper", is_staff=True)
    refused = get(helper, path)
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
    assert not LedgerCheck.objects.exists()
    User.objects.get(pk=helper.id).user_permissions.add(Permission.objects.get(codename=right))
    assert get(helper, path).status_code == 200
    settings.ADMIN_USER_IDS = [str(bob.id)]
    assert get(bob, path).status_code == 200


def test_anchors_are_listed_newest_first_page_by_page(staff, people, monkeypatch):
    monkeypatch.setattr(closing, "MARGIN_S", 0)
    now = timezone.now()
    made = [anchors.make_anchor_now(), *(anchors.make_anchor(now - timedelta(days=days)) for days in range(1, 5))]
    seen, page = [], get(staff, ANCHORS, page_size=2).json()
    seen += page["results"]
    while page["next"]:
        page = get(staff, page["next"]).json()
        seen += page["results"]
    assert [item["anchor_hash"] for item in seen] == [anchor.anchor_hash for anchor in made]
    assert [item["id"] for item in seen] == [str(anchor.id) for anchor in made]
    assert seen[0] | {"as_of": None, "created_at": None, "id": None} == {
        "id": None, "as_of": None, "created_at": None, "wallets": 2, "entries": 2, "anchor_hash": made[0].anchor_hash,
    }  # fmt: skip


@pytest.mark.parametrize("page", ["ledgercheck", "ledgeranchor"])
def test_the_admin_shows_checks_and_anchors_and_changes_none(page, staff, people):
    get(staff, CHECK)
    anchors.make_anchor(timezone.now() - timedelta(days=1))
    client = Client()
    assert client.login(username=staff.email, password=PASSWORD)
    base = f"/admin/billing/{page}/"
    assert client.get(base).status_code == 200
    model = {"ledgercheck": LedgerCheck, "ledgeranchor": LedgerAnchor}[page]
    row = model.objects.get()
    assert client.get(f"{base}{row.pk}/change/").status_code == 200
    assert client.get(f"{base}add/").status_code == 403
    assert client.post(f"{base}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert model.objects.get() == row
