"""Every page that the admin has is sound for everybody: nothing is left out of what axe-core looks at."""

from __future__ import annotations

from decimal import Decimal
from urllib.parse import urlsplit

import pytest
from django.contrib import admin
from django.test import RequestFactory
from django.urls import resolve

from billing import enforcement
from billing.alerts import endpoints
from billing.limits import services as limits
from billing.models import WebhookEndpoint
from files.models import UploadedFile
from sessions_app.models import Room
from sessions_app.tests.admin_rows import make_admin_rows
from users import api_keys
from users.models import ExternalIdentity, User

pytestmark = pytest.mark.usefixtures("committed")
MODELS = {model._meta.label_lower.replace(".", "/"): model for model in admin.site._registry}
# These lead to other pages. The histories of all rows are one page of Django's, looked at below.
ELSEWHERE = {"billing_creditwallet_open", "billing_pricesimulation_run"}


@pytest.fixture(scope="module")
def alice(committed):
    """With a row behind each page."""
    alice = make_admin_rows()
    user = User.objects.get(pk=alice.id)
    ExternalIdentity.objects.create(user=user, issuer="https://id.example.com", subject="alice")
    api_keys.issue(user, name="machine")
    enforcement.set_override(enforcement="hard", updated_by="test")
    enforcement.set_for_user(user_id=alice.id, enforcement="warn", updated_by="test")
    limits.create(
        user_id=alice.id, subject="user", subject_id=alice.id, period="month", amount=Decimal(5), tz="UTC",
        set_by="test", is_staff_set=True,
    )  # fmt: skip
    endpoints.store(WebhookEndpoint(url="http://127.0.0.1:9/hook"))
    UploadedFile.objects.create(
        room_id=Room.objects.get(user_id=alice.id).pk, user=user, name="notes.txt", kind="txt", size_bytes=2,
        parse_status="failed", parse_error_code="empty",
    )  # fmt: skip
    return alice


def kind_of(path):
    return resolve(path).url_name


def pages_of(name):
    """The kinds of pages that a superuser may open of a model."""
    model = MODELS[name]
    its, request = admin.site._registry[model], RequestFactory().get("/")
    request.user = User.objects.filter(is_superuser=True).first()
    stem = name.replace("/", "_")
    barred = {f"{stem}_history", *ELSEWHERE}
    if not its.has_add_permission(request):
        barred.add(f"{stem}_add")
    if not its.has_delete_permission(request, model.objects.first()):
        barred.add(f"{stem}_delete")
    if its.list_display_links is None:
        barred.add(f"{stem}_change")
    return {url.name for url in its.get_urls() if url.name} - barred


def paths_on(desk):
    links = desk.page.locator("#content a[href]").evaluate_all("links => links.map(link => link.href)")
    return [urlsplit(link).path for link in links]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_each_page_of_a_model_that_links_lead_to_is_sound(desk, alice, name):
    start, pages = f"/admin/{name}/", pages_of(name)
    waiting, seen = [start], set()
    while waiting:
        path = waiting.pop(0)
        if path.startswith(start) and kind_of(path) in pages - seen:
            seen.add(kind_of(path))
            desk.look(path, kind_of(path).replace("_", "-"))
            waiting += paths_on(desk)
    assert seen == pages
