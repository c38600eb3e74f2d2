"""End-to-end: HTTP → engine → scripted provider on a real socket → ledger. Each test makes its own people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conftest import undo_commits
from sessions_app.tests.e2e.servers import WebProcess, web_processes
from sessions_app.tests.scripted_provider import Reply, ScriptedProvider

API_KEY = "canary-provider-key-7d1f"


class Script:
    """What the provider answers. A test sets `reply`, a Reply or a function of the request's body."""

    def __init__(self) -> None:
        self.reply: Reply | Callable[[dict[str, Any]], Reply] = Reply()

    def __call__(self, body: dict[str, Any]) -> Reply:
        return self.reply if isinstance(self.reply, Reply) else self.reply(body)


@pytest.fixture(scope="module")
def committed(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """A database whose rows other processes see. Undone once the module is through."""
    with django_db_blocker.unblock():
        yield
        undo_commits()


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider(Script()) as scripted:
        yield scripted


@pytest.fixture
def script(provider: ScriptedProvider) -> Iterator[Script]:
    current = provider.script
    assert isinstance(current, Script)
    current.reply = Reply()
    yield current
    current.reply = Reply()


@pytest.fixture(scope="module")
def webs(request: pytest.FixtureRequest, committed: None, provider: ScriptedProvider) -> Iterator[list[WebProcess]]:
    """Web processes in `hard` mode; a module that wants two says `WEB_PROCESSES = 2`."""
    count = getattr(request.module, "WEB_PROCESSES", 1)
    environment = getattr(request.module, "ENVIRONMENT", {})
    with web_processes(count, LLM_BASE_URL=provider.base_url, LLM_API_KEY=API_KEY, **environment) as processes:
        yield processes


@pytest.fixture(scope="module")
def web(webs: list[WebProcess]) -> WebProcess:
    return webs[0]
