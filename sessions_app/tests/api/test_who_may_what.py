"""Every page of the admin and every endpoint of the admin API × everybody who may knock: the exact status of each.

A page or an endpoint that is not in the tables below fails the first test, so whoever adds one says here who may what.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db import transaction
from django.test import Client
from django.urls import get_resolver, reverse
from django.utils import timezone
from rest_framework.test import APIClient

from billing import enforcement
from billing.alerts.endpoints import make_endpoint
from billing.costs import compare_missed
from billing.limits import services as limits
from billing.models import CostFinding, CreditGrant, CreditTransaction, CreditWallet, EnforcementOverride
from billing.simulating import runs
from billing.tests.makers import credits
from config.core.ids import uuid7
from files.models import UploadedFile
from pricing import lifecycle
from pricing.models import PricingVersion
from pricing.tests.makers import SEED, in_an_hour, make_next, price_tool
from sessions_app.models import Turn
from sessions_app.tests.admin_rows import make_admin_rows
from sessions_app.tests.makers import Person, make_person
from users import api_keys, roles
from users.models import User

# Eight hundred requests in one test.
pytestmark = [pytest.mark.django_db, pytest.mark.long, pytest.mark.timeout(300)]

# Who knocks. `root` is a superuser, `listed` is in ADMIN_USER_IDS and nothing else, `clerk` staff without any right.
PRICING, SUPPORT, AUDITOR = "pricing", "support", "auditor"
EVERYBODY = ("root", "listed", PRICING, SUPPORT, AUDITOR, "clerk", "user", "anonymous")
STAFF = EVERYBODY[:-2]
GROUPS = {PRICING: roles.PRICING_EDITOR, SUPPORT: roles.SUPPORT, AUDITOR: roles.AUDITOR}
TO_LOGIN = 302

Statuses = dict[str, int]


def for_(*whom: str, ok: int = 200, no: int = 403) -> Statuses:
    """Root, the listed, and these of the staff get `ok`; other staff `no`; everybody else is sent to the login."""
    may = {"root", "listed", *whom}
    return {who: (ok if who in may else no) if who in STAFF else TO_LOGIN for who in EVERYBODY}


FOR_NOBODY: Statuses = {who: 403 if who in STAFF else TO_LOGIN for who in EVERYBODY}
FOR_STAFF = for_(*STAFF)


def model(name: str, *see: str, add: Statuses = FOR_NOBODY, delete: Statuses = FOR_NOBODY) -> dict[str, Statuses]:
    """The pages of a model: its list, a row and its history for whoever may see them; adding and deleting."""
    pages = dict.fromkeys((f"{name}_changelist", f"{name}_change", f"{name}_history"), for_(*see))
    return {**pages, f"{name}_add": add, f"{name}_delete": delete}


ROOT_ONLY = for_()
PAGES: dict[str, Statuses] = {
    # Django's own.
    "index": FOR_STAFF,
    "login": {who: 302 if who in STAFF else 200 for who in EVERYBODY},
    "logout": for_(*STAFF, ok=405),
    "password_change": FOR_STAFF,
    "password_change_done": FOR_STAFF,
    "autocomplete": FOR_NOBODY,
    "jsi18n": FOR_STAFF,
    "app_list": for_(PRICING, SUPPORT, AUDITOR, no=404),
    **model("auth_group", AUDITOR, add=ROOT_ONLY, delete=ROOT_ONLY),
    # users
    **model("users_user", SUPPORT, AUDITOR, add=ROOT_ONLY),
    "auth_user_password_change": ROOT_ONLY,
    **model("users_apikey", AUDITOR),
    **model("knox_authtoken", AUDITOR),
    # pricing
    **model("pricing_pricingversion", PRICING, AUDITOR, add=for_(PRICING)),
    "pricing_pricingversion_review": for_(PRICING, AUDITOR),
    "pricing_pricingversion_clone": for_(PRICING),
    **model("pricing_pricingrevision", PRICING, AUDITOR),
    # billing
    **model("billing_creditwallet", SUPPORT, AUDITOR),
    "billing_creditwallet_desk": for_(SUPPORT, AUDITOR),
    "billing_creditwallet_open": for_(SUPPORT, AUDITOR, ok=302),
    "billing_creditwallet_bulk": for_(SUPPORT),
    "billing_creditwallet_grant": for_(SUPPORT),
    "billing_creditwallet_adjust": for_(SUPPORT),
    **model("billing_credittransaction", SUPPORT, AUDITOR),
    "billing_credittransaction_refund": for_(SUPPORT),
    **model("billing_creditgrant", SUPPORT, AUDITOR),
    "billing_creditgrant_void": for_(SUPPORT),
    **model("billing_credithold", SUPPORT, AUDITOR),
    **model("billing_creditallocation", SUPPORT, AUDITOR),
    **model("billing_llmcallevent", PRICING, SUPPORT, AUDITOR),
    **model("billing_toolcallevent", SUPPORT, AUDITOR),
    "billing_usagetotal_changelist": for_(PRICING, SUPPORT, AUDITOR),
    **model("billing_spendinglimit", SUPPORT, AUDITOR, add=ROOT_ONLY, delete=ROOT_ONLY),
    **model("billing_userenforcement", SUPPORT, AUDITOR, add=ROOT_ONLY, delete=ROOT_ONLY),
    # There is at most one, and there is one.
    **model("billing_enforcementoverride", AUDITOR, delete=ROOT_ONLY),
    **model("billing_shadowrefusal", AUDITOR),
    **model("billing_pricesimulation", PRICING, AUDITOR),
    # It only takes POST.
    "billing_pricesimulation_run": for_(PRICING, AUDITOR, ok=405),
    **model("billing_ledgercheck", AUDITOR),
    **model("billing_ledgeranchor", AUDITOR),
    **model("billing_costday", AUDITOR),
    **model("billing_costfinding", AUDITOR),
    **model("billing_alert", AUDITOR),
    **model("billing_alertdelivery", AUDITOR),
    **model("billing_webhookendpoint", AUDITOR, add=ROOT_ONLY, delete=ROOT_ONLY),
    # files, sessions_app
    **model("files_uploadedfile", AUDITOR),
    **model("sessions_app_turn", AUDITOR),
    "sessions_app_turn_bill": for_(PRICING, SUPPORT, AUDITOR),
    **model("sessions_app_completion", AUDITOR),
    **model("sessions_app_agent", AUDITOR),
    **model("sessions_app_room", AUDITOR),
    **model("sessions_app_session", AUDITOR),
    **model("sessions_app_sessionsummary", AUDITOR),
    **model("sessions_app_turncontextaudit", AUDITOR),
}

GRANT = {"amount": "1", "reason": "x"}
# Method and route → who may, what they get, and a body that is in order. Everybody else on the staff gets 403
# `permission_denied`, others 403 `admin_required`, who shows no token 401.
ENDPOINTS: dict[str, tuple[tuple[str, ...], int, dict[str, object] | None]] = {
    "GET pricing": ((PRICING, AUDITOR), 200, None),
    "PATCH pricing/<path:model_alias>": ((PRICING,), 200, {"multiplier": "1.5"}),
    "GET pricing/versions": ((PRICING, AUDITOR), 200, None),
    "POST pricing/versions": ((PRICING,), 201, {"version": "another"}),
    "GET pricing/versions/<str:version>": ((PRICING, AUDITOR), 200, None),
    "PATCH pricing/versions/<str:version>": ((PRICING,), 200, {"note": "x"}),
    "POST pricing/versions/<str:version>/schedule": ((PRICING,), 200, {"effective_at": "2099-01-01T00:00:00Z"}),
    "POST pricing/versions/<str:version>/unschedule": ((PRICING,), 200, {}),
    "POST pricing/versions/<str:version>/activate": ((PRICING,), 200, {}),
    "POST pricing/versions/<str:version>/rollback": ((PRICING,), 201, {}),
    "GET pricing/versions/<str:version>/diff": ((PRICING, AUDITOR), 200, None),
    "GET pricing/versions/<str:version>/simulate": ((PRICING, AUDITOR), 200, None),
    "POST pricing/versions/<str:version>/simulations": ((PRICING, AUDITOR), 201, {"days": 7}),
    "GET pricing/versions/<str:version>/simulations/<uuid:simulation_id>": ((PRICING, AUDITOR), 200, None),
    "PUT pricing/versions/<str:version>/models/<path:model_alias>": ((PRICING,), 200, {"multiplier": "1.5"}),
    "DELETE pricing/versions/<str:version>/models/<path:model_alias>": ((PRICING,), 204, None),
    "PUT pricing/versions/<str:version>/tools/<str:tool_name>": ((PRICING,), 200, {"credits_per_call": "0.5"}),
    "DELETE pricing/versions/<str:version>/tools/<str:tool_name>": ((PRICING,), 204, None),
    "GET usage/summary": ((PRICING, SUPPORT, AUDITOR), 200, None),
    "GET analytics/active-users": ((PRICING, SUPPORT, AUDITOR), 200, None),
    "GET settings/enforcement/shadow/refusals": ((AUDITOR,), 200, None),
    "GET wallets/<uuid:user_id>": ((SUPPORT, AUDITOR), 200, None),
    "POST wallets/<uuid:user_id>/grant": ((SUPPORT,), 201, GRANT),
    "POST wallets/<uuid:user_id>/adjust": ((SUPPORT,), 201, GRANT),
    "POST wallets/<uuid:user_id>/refund": ((SUPPORT,), 201, {"transaction_id": "debit", "reason": "x"}),
    "POST grants/<uuid:grant_id>/void": ((SUPPORT,), 201, {"reason": "x"}),
    "GET settings/enforcement": ((AUDITOR,), 200, None),
    "PATCH settings/enforcement": ((), 200, {"enforcement": "hard"}),
    "DELETE settings/enforcement": ((), 200, None),
    "GET settings/enforcement/shadow": ((AUDITOR,), 200, None),
    "GET users/<uuid:user_id>/enforcement": ((SUPPORT, AUDITOR), 200, None),
    "PATCH users/<uuid:user_id>/enforcement": ((), 200, {"enforcement": "hard"}),
    "DELETE users/<uuid:user_id>/enforcement": ((), 200, None),
    "GET users/<uuid:user_id>/spending-limits": ((SUPPORT, AUDITOR), 200, None),
    "POST users/<uuid:user_id>/spending-limits": ((), 201, {"amount": "5", "period": "month"}),
    "PATCH users/<uuid:user_id>/spending-limits/<uuid:limit_id>": ((), 200, {"amount": "6"}),
    "DELETE users/<uuid:user_id>/spending-limits/<uuid:limit_id>": ((), 204, None),
    "GET ledger/check": ((AUDITOR,), 200, None),
    "GET ledger/anchors": ((AUDITOR,), 200, None),
}


@pytest.fixture
def people(settings) -> dict[str, Person | None]:
    found: dict[str, Person | None] = {"anonymous": None, "user": make_person("mallory"), "listed": make_person("lea")}
    found["root"] = make_person("root", is_staff=True, is_superuser=True)
    for who in (PRICING, SUPPORT, AUDITOR, "clerk"):
        found[who] = make_person(who, is_staff=True)
        if who in GROUPS:
            User.objects.get(pk=found[who].id).groups.add(Group.objects.get(name=GROUPS[who]))
    settings.ADMIN_USER_IDS = frozenset({str(found["listed"].id)})
    return found


@pytest.fixture
def rows(settings):
    """Alice, and a row behind every page and route, by what its argument is called."""
    alice = make_admin_rows()
    settings.WEBHOOK_ALLOW_PRIVATE = True
    boss = str(uuid7())
    user = User.objects.get(pk=alice.id)
    enforcement.set_override(enforcement="warn", updated_by=boss)
    enforcement.set_for_user(user_id=alice.id, enforcement="warn", updated_by=boss)
    limit = limits.create(
        user_id=alice.id, subject="user", subject_id=alice.id, period="day", amount=credits("900"), tz="UTC",
        set_by=boss, is_staff_set=True,
    )  # fmt: skip
    key = api_keys.issue(user, name="machine").row
    make_endpoint(user_id=alice.id, url="http://127.0.0.1:9/hook")
    UploadedFile.objects.create(
        user=user, room_id=uuid7(), name="a.txt", kind="txt", size_bytes=1, sha256="0" * 64, storage_key="none"
    )
    compare_missed(timezone.now() + timedelta(days=1))
    if not CostFinding.objects.exists():
        CostFinding.objects.create(day=timezone.now().date(), kind="drift", provider="p", model_alias="a", detail="d")
    make_versions()
    version = PricingVersion.objects.get(status="draft")
    version.note = "A change, so that there is a revision."
    version.save(update_fields=["note"])
    return {
        "user_id": alice.id,
        "limit_id": limit.id,
        "grant_id": CreditGrant.objects.filter(user_id=alice.id, remaining__gt=0).first() or refilled(alice.id),
        "model_alias": "gpt-4o",
        "version": "draft",
        "simulation_id": runs.ask(version, days=30, asked_by=boss).id,
        "tool_name": "search",
        "debit": CreditTransaction.objects.get(user_id=alice.id, kind="debit").id,
        "key": key,
    }


def make_versions():
    """One in each state that a version may be in."""
    make_next("old")
    lifecycle.activate(pricing_version="old", actor="test")
    lifecycle.roll_back(pricing_version=SEED, actor="test")
    make_next("planned")
    lifecycle.schedule(pricing_version="planned", effective_at=in_an_hour(), actor="test")
    make_next("draft")
    price_tool("search", version="draft")


# Of these routes another version than the draft is asked for.
VERSION_OF = {"unschedule": "planned", "rollback": "old"}


def refilled(user_id):
    from billing import ledger

    ledger.grant(user_id=user_id, amount=credits("5"), reason="test", initiated_by="test")
    return CreditGrant.objects.filter(user_id=user_id).latest("id")


def patterns(found, prefix=""):
    for one in found:
        if hasattr(one, "url_patterns"):
            yield from patterns(one.url_patterns, prefix + str(one.pattern))
        else:
            yield prefix + str(one.pattern), one


def page_names():
    """All of the site's, but Django's redirects of old addresses and its last resort, which have no name."""
    return {one.name for _, one in patterns(admin.site.urls[0]) if one.name}


def endpoint_names():
    found = set()
    for route, one in patterns(get_resolver().url_patterns):
        if route.startswith("api/v1/admin/"):
            view = getattr(one.callback, "cls", None) or one.callback.view_class
            methods = getattr(one.callback, "actions", None) or view.http_method_names
            found |= {
                f"{method.upper()} {route.removeprefix('api/v1/admin/')}"
                for method in methods
                if method not in {"options", "head"} and (hasattr(view, method) or hasattr(one.callback, "actions"))
            }
    return found


def test_the_tables_have_every_page_and_every_endpoint():
    assert page_names() == set(PAGES)
    assert endpoint_names() == set(ENDPOINTS)


def url_of(name, rows):
    special = {
        "password_change": [],
        "app_list": ["billing"],
        "auth_user_password_change": [rows["user_id"]],
        "billing_creditwallet_open": [rows["user_id"]],
        "billing_credittransaction_refund": [rows["debit"]],
        "billing_creditgrant_void": [getattr(rows["grant_id"], "pk", None)],
        "sessions_app_turn_bill": [Turn.objects.first().pk],
    }
    if name in special:
        return reverse(f"admin:{name}", args=special[name])
    if name in {"pricing_pricingversion_review", "pricing_pricingversion_clone", "billing_pricesimulation_run"}:
        return reverse(f"admin:{name}", args=[PricingVersion.objects.get(version="draft").pk])
    if name in {"billing_creditwallet_grant", "billing_creditwallet_adjust"}:
        return reverse(f"admin:{name}", args=[CreditWallet.objects.get(user_id=rows["user_id"]).pk])
    prefix, _, action = name.rpartition("_")
    if action not in {"change", "history", "delete"}:
        return reverse(f"admin:{name}")
    model_ = next(m for m in admin.site._registry if f"{m._meta.app_label}_{m._meta.model_name}" == prefix)
    row = User.objects.get(pk=rows["user_id"]) if model_ is User else model_._default_manager.first()
    assert row is not None, name
    return reverse(f"admin:{name}", args=[row.pk])


@pytest.fixture
def browsers(people):
    """Each with a browser, logged in."""
    found = {who: Client(raise_request_exception=False) for who in people}
    for who, person in people.items():
        if person is not None:
            found[who].force_login(User.objects.get(pk=person.id))
    return found


def test_a_page_answers_each_as_the_table_says(rows, browsers):
    answered = {}
    for name in PAGES:
        url, answered[name] = url_of(name, rows), {}
        for who in EVERYBODY:
            # "login" sends who is logged in away, and "logout" ends nothing with GET.
            answer = browsers[who].get(url)
            answered[name][who] = answer.status_code
            if who in {"user", "anonymous"} and answer.status_code == TO_LOGIN and name != "logout":
                assert answer.headers["Location"].startswith("/admin/login/?next=/admin/"), name
    assert {name: found for name, found in answered.items() if found != PAGES[name]} == {}


# What changes something is refused before anything of the form is looked at.
FORMS = [
    "billing_creditwallet_bulk", "billing_creditwallet_grant", "billing_creditwallet_adjust",
    "billing_credittransaction_refund", "billing_creditgrant_void",
]  # fmt: skip


def test_who_may_not_see_a_form_may_not_send_it(rows, browsers):
    before, answered = CreditTransaction.objects.count(), {}
    for name in FORMS:
        url = url_of(name, rows)
        answered[name] = {who: browsers[who].post(url, {"amount": ""}).status_code for who in EVERYBODY}
    assert answered == {
        name: {who: 422 if status == 200 else status for who, status in PAGES[name].items()} for name in FORMS
    }
    assert CreditTransaction.objects.count() == before


def test_a_wallet_is_opened_by_who_may_grant(browsers):
    for who in EVERYBODY:
        newcomer = User.objects.create_user(email=f"new-{uuid7()}@example.com")
        url = reverse("admin:billing_creditwallet_open", args=[newcomer.pk])
        # Looking makes nothing.
        browsers[who].get(url)
        assert not CreditWallet.objects.filter(user_id=newcomer.pk).exists()
        status = browsers[who].post(url).status_code
        assert status == (403 if who in {PRICING, AUDITOR, "clerk"} else 302), who
        assert CreditWallet.objects.filter(user_id=newcomer.pk).exists() == (who in {"root", "listed", SUPPORT}), who


def path_of(route, rows):
    """A route with alice's rows in the places of its arguments."""
    names = [part.strip("<>").partition(":")[2] if part.startswith("<") else None for part in route.split("/")]
    found = [
        part if name is None else str(getattr(rows[name], "pk", rows[name]))
        for name, part in zip(names, route.split("/"), strict=True)
    ]
    return "/api/v1/admin/" + "/".join(found)


def test_an_endpoint_answers_each_as_the_table_says(rows, people):
    answered, expected = {}, {}
    for endpoint, (may, ok, body) in ENDPOINTS.items():
        method, _, route = endpoint.partition(" ")
        named = {**rows, "version": VERSION_OF.get(route.rpartition("/")[2], rows["version"])}
        sent = {**body, "transaction_id": str(rows["debit"])} if body and "transaction_id" in body else body
        for who in EVERYBODY:
            client = APIClient()
            if people[who] is not None:
                client.credentials(HTTP_AUTHORIZATION=f"Bearer {people[who].token}")
            with transaction.atomic():
                answer = getattr(client, method.lower())(path_of(route, named), sent)
                transaction.set_rollback(True)
            code = answer.json().get("code") if answer.status_code >= 400 else None
            answered[endpoint, who] = (answer.status_code, code)
            expected[endpoint, who] = (
                (ok, None)
                if who in {"root", "listed", *may}
                else (401, "not_authenticated")
                if who == "anonymous"
                else (403, "admin_required" if who == "user" else "permission_denied")
            )
    assert {key: got for key, got in answered.items() if got != expected[key]} == {}


def test_roles_are_made_once_and_keep_what_an_operator_added():
    from django.contrib.auth.models import Permission

    support = Group.objects.get(name=roles.SUPPORT)
    added = Permission.objects.get(codename="change_userenforcement")
    support.permissions.add(added)
    before = {group.name: set(group.permissions.values_list("codename", flat=True)) for group in Group.objects.all()}
    roles.complete_all_roles()
    after = {group.name: set(group.permissions.values_list("codename", flat=True)) for group in Group.objects.all()}
    assert after == before
    assert set(after) == {"pricing editor", "support", "auditor"}
    assert added.codename in after["support"]
    # What is missing comes back.
    support.permissions.remove(Permission.objects.get(codename="add_creditgrant"))
    roles.complete_all_roles()
    assert support.permissions.filter(codename="add_creditgrant").exists()


def test_roles_hold_exactly_this():
    held = {
        group.name: sorted(
            f"{app}.{name}" for app, name in group.permissions.values_list("content_type__app_label", "codename")
        )
        for group in Group.objects.exclude(name="auditor")
    }
    assert held["pricing editor"] == [
        "billing.view_llmcallevent", "billing.view_pricesimulation", "pricing.add_modelpricing",
        "pricing.add_pricingversion",
        "pricing.add_toolpricing", "pricing.change_modelpricing", "pricing.change_pricingversion",
        "pricing.change_toolpricing", "pricing.delete_modelpricing", "pricing.delete_toolpricing",
        "pricing.view_modelpricing", "pricing.view_pricingrevision", "pricing.view_pricingversion",
        "pricing.view_toolpricing",
    ]  # fmt: skip
    assert held["support"] == [
        "billing.add_creditgrant", "billing.add_credittransaction", "billing.change_creditgrant",
        "billing.view_creditallocation", "billing.view_creditgrant", "billing.view_credithold",
        "billing.view_credittransaction", "billing.view_creditwallet", "billing.view_llmcallevent",
        "billing.view_spendinglimit", "billing.view_toolcallevent", "billing.view_userenforcement", "users.view_user",
    ]  # fmt: skip
    auditor = Group.objects.get(name="auditor").permissions
    assert not auditor.exclude(codename__startswith="view_").exists()
    assert auditor.count() >= 30


def test_the_enforcement_of_the_deployment_can_be_added_where_there_is_none(people):
    EnforcementOverride.objects.all().delete()
    for who, status in for_().items():
        browser = Client()
        if people[who] is not None:
            browser.force_login(User.objects.get(pk=people[who].id))
        assert browser.get("/admin/billing/enforcementoverride/add/").status_code == status, who
