from __future__ import annotations

import pytest

from users.authentication import TokenInvalid, bearer_token


@pytest.mark.parametrize("header", ["Bearer abc", "bearer abc", "BEARER abc", "Bearer   abc", " Bearer abc "])
def test_the_scheme_is_read_in_any_case(header: str) -> None:
    assert bearer_token(header) == "abc"


def test_the_characters_of_rfc_6750_pass() -> None:
    assert bearer_token("Bearer aZ09-._~+/==") == "aZ09-._~+/=="


@pytest.mark.parametrize("header", ["", "   ", "Basic YTpi", "Bearerabc", "Token abc", "Béarer x", "\x00", "\u212a"])
def test_no_bearer_header_is_no_token(header: str) -> None:
    assert bearer_token(header) is None


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer a b",
        "Bearer a, Bearer b",
        "Bearer tökén",
        "Bearer \u4e2d",
        "Bearer a\x00b",
        "Bearer a\tb",
        "Bearer a\n",
        "Bearer =a",
        "Bearer \u212a",
        "Bearer " + "a" * 8193,
    ],
)
def test_a_malformed_bearer_header_is_refused(header: str) -> None:
    with pytest.raises(TokenInvalid):
        bearer_token(header)


def test_the_longest_token_passes() -> None:
    assert bearer_token("Bearer " + "a" * 8192) == "a" * 8192
