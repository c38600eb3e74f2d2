from __future__ import annotations

from typing import Any

import pytest

from users.checks import check_jwt_secret


@pytest.mark.parametrize("secret", ["", "x" * 32, "é" * 16, "x" * 500])
def test_no_secret_or_one_of_32_bytes_passes(settings: Any, secret: str) -> None:
    settings.AUTH_JWT_SECRET = secret
    assert check_jwt_secret() == []


@pytest.mark.parametrize("secret", ["x", "x" * 31])
def test_a_short_secret_is_an_error_that_names_the_variable_and_not_the_secret(settings: Any, secret: str) -> None:
    settings.AUTH_JWT_SECRET = secret
    (error,) = check_jwt_secret()
    assert error.id == "users.E001"
    assert error.is_serious()
    assert error.msg == f"AUTH_JWT_SECRET has {len(secret)} bytes; HS256 needs at least 32."
