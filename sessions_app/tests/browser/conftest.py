"""Staff's pages in a real browser, on a live web process: `make test-browser`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from playwright.sync_api import Browser, sync_playwright

from config.core.ids import uuid7
from conftest import undo_commits
from sessions_app.tests.browser.desk import Desk
from sessions_app.tests.e2e.conftest import Script
from sessions_app.tests.e2e.servers import WebProcess, web_processes
from sessions_app.tests.makers import PASSWORD
from sessions_app.tests.scripted_provider import Reply, ScriptedProvider

# Playwright's synchronous interface keeps an event loop in this thread, which Django would refuse to work beside.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = "Chromium is missing: apt-get install chromium, or name one with CHROMIUM=/path/to/it"
# It looks nowhere by itself: neither for updates nor for its maker's hosts.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/tests/browser/" in item.path.as_posix():
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.exit(MISSING, returncode=1)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def committed(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """A database whose rows the web process sees. Undone once the module is through."""
    with django_db_blocker.unblock():
        yield
        undo_commits()


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(Script()) as scripted:
        yield scripted


@pytest.fixture
def script(provider: ScriptedProvider) -> Script:
    script = provider.script
    assert isinstance(script, Script)
    script.reply = Reply()
    return script


@pytest.fixture(scope="module")
def web(committed: None, provider: ScriptedProvider) -> Iterator[WebProcess]:
    # DEBUG, so that static files need not be collected.
    environment = {"LLM_BASE_URL": provider.base_url, "LLM_API_KEY": "k", "DEBUG": "1", "CREDIT_USD_VALUE": "0.02"}
    with web_processes(1, **environment) as (one,):
        yield one


@pytest.fixture(scope="module")
def staff(committed: None) -> str:
    """A superuser's address."""
    email = f"staff-{uuid7().hex[-12:]}@example.com"
    staff = get_user_model().objects.create_superuser(email=email)
    # As the web process hashes it; tests use something quicker.
    staff.password = PBKDF2PasswordHasher().encode(PASSWORD, "salt")
    staff.save(update_fields=["password"])
    return email


@pytest.fixture(scope="module")
def signed_in(browser: Browser, web: WebProcess, staff: str) -> Any:
    """The cookies of a superuser."""
    with Desk.opened(browser, web.url) as desk:
        desk.sign_in(staff, PASSWORD)
        return desk.page.context.storage_state()


@pytest.fixture
def desk(browser: Browser, web: WebProcess, signed_in: Any) -> Iterator[Desk]:
    """Signed in as a superuser. What a page fetches from elsewhere, or says on its console, fails the test."""
    with Desk.opened(browser, web.url, signed_in) as desk:
        yield desk
