from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from django.conf import settings

from config.core.logs import logging_config

SECRET = "sk-very-secret-key"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """The handlers of this process as they were, among them pytest's own."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging_config(level=settings.LOG_LEVEL, form=settings.LOG_FORMAT)
    root.handlers, root.level = handlers, level


def fail_with_a_secret_at_hand() -> None:
    api_key = SECRET
    raise ValueError(len(api_key))


def test_json_lines_carry_the_ids_that_the_context_holds(capsys: pytest.CaptureFixture[str]) -> None:
    logging_config(level="INFO", form="json")
    with structlog.contextvars.bound_contextvars(request_id="r-1", user_id="u-1"):
        structlog.get_logger("tallyroom.test").info("happened", count=3)
        logging.getLogger("somebody.else").warning("heard %s", "this")
    ours, theirs = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["count"], ours["level"], ours["request_id"], ours["user_id"]) == (
        *("happened", 3, "info", "r-1", "u-1"),
    )
    assert (theirs["event"], theirs["logger"], theirs["request_id"]) == ("heard this", "somebody.else", "r-1")
    assert ours["timestamp"].endswith("Z")


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_variables(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    logging_config(level="INFO", form=form)
    try:
        fail_with_a_secret_at_hand()
    except ValueError:
        logging.getLogger("tallyroom.test").exception("went wrong")
    written = capsys.readouterr().err
    assert "fail_with_a_secret_at_hand" in written
    assert SECRET not in written


def test_the_libraries_that_would_print_keys_are_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    logging_config(level="DEBUG", form="json")
    for name in ("httpx", "httpcore", "httpcore.http11"):
        logging.getLogger(name).info("request with Authorization: Bearer %s", SECRET)
        logging.getLogger(name).debug("request with Authorization: Bearer %s", SECRET)
    assert capsys.readouterr().err == ""
