from __future__ import annotations

import json
from typing import Any

import pytest
from rest_framework.test import APIClient

from users.tests.makers import AUDIENCE, ISSUER, SECRET


@pytest.fixture
def _outside_provider(settings: Any) -> None:
    settings.AUTH_JWT_SECRET = SECRET
    settings.AUTH_JWT_AUDIENCE = AUDIENCE
    settings.AUTH_JWT_ISSUER = ISSUER


class EscapingClient(APIClient):
    """Writes bodies in ASCII, as JSON may, so that text which UTF-8 cannot encode reaches the server too."""

    def post(self, path: str, data: Any = None, **extra: Any) -> Any:  # type: ignore[override]
        return super().post(path, None if data is None else json.dumps(data), content_type="application/json", **extra)


@pytest.fixture
def client() -> APIClient:
    """A client that sees a 500 as its caller would, instead of the exception."""
    return EscapingClient(raise_request_exception=False)
