from __future__ import annotations

from uuid import UUID

import pytest
from rest_framework.test import APIClient

pytestmark = pytest.mark.urls("config.core.tests.api.urls")
PATHS = ["/orders", "/nowhere", "/fails/bug", "/plain", "/async/fails/bug"]


def answered_id(path: str, sent: str | None) -> str:
    client = APIClient(raise_request_exception=False)
    headers = {} if sent is None else {"X-Request-ID": sent}
    return client.get(path, headers=headers).headers["X-Request-ID"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("sent", ["abcdefgh", "01234567-89ab-7def-8123-456789abcdef", "a.b_c:d-1", "x" * 128])
def test_a_well_formed_id_comes_back(path: str, sent: str) -> None:
    assert answered_id(path, sent) == sent


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        "short",
        "x" * 129,
        "has a space",
        "semi;colon",
        "new\nline-8chars",
        "nul\x00nul-8chars",
        "ümlautümlaut",
        "日本語日本語日本",
    ],
)
def test_any_other_is_replaced_by_a_new_uuid7(sent: str | None) -> None:
    first, second = answered_id("/orders", sent), answered_id("/orders", sent)
    assert UUID(first).version == UUID(second).version == 7
    assert first != second
