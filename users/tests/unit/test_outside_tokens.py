from __future__ import annotations

from typing import Any

import pytest

from users.outside_tokens import OutsideToken, OutsideTokenInvalid, read
from users.tests.makers import ISSUER, make_jwt

NOW = 1_790_000_000
pytestmark = pytest.mark.usefixtures("_outside_provider")


def read_at_now(**claims: Any) -> OutsideToken:
    return read(make_jwt(**{"exp": NOW + 60, **claims}), now=NOW)


def test_a_token_says_issuer_subject_and_address() -> None:
    assert read_at_now(email="Alice@example.com") == OutsideToken(ISSUER, "alice-at-idp", "Alice@example.com")


def test_one_of_several_audiences_is_enough() -> None:
    assert read_at_now(aud=["other", "tallyroom"]).subject == "alice-at-idp"


@pytest.mark.parametrize("exp", [NOW + 1, NOW + 0.5, 10**400])
def test_a_token_lives_until_its_expiry(exp: float) -> None:
    assert read_at_now(exp=exp).subject == "alice-at-idp"


@pytest.mark.parametrize("exp", [NOW, NOW - 1, NOW - 0.5, 0, -5, -(10**400)])
def test_an_expired_token_has_no_grace(exp: float) -> None:
    with pytest.raises(OutsideTokenInvalid, match="has expired"):
        read_at_now(exp=exp)


@pytest.mark.parametrize("exp", [str(NOW + 60), True, [NOW], {}, float("inf"), float("nan"), "", "never"])
def test_an_expiry_that_is_no_time_is_refused(exp: object) -> None:
    with pytest.raises(OutsideTokenInvalid, match="exp is not a time"):
        read_at_now(exp=exp)


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_the_provider_s_clock_may_run_ten_seconds_ahead(claim: str) -> None:
    assert read_at_now(**{claim: NOW + 10}).subject == "alice-at-idp"
    with pytest.raises(OutsideTokenInvalid, match="not valid yet"):
        read_at_now(**{claim: NOW + 11})


@pytest.mark.parametrize("claim", ["nbf", "iat"])
@pytest.mark.parametrize("value", ["1", True, float("inf"), [], {}])
def test_other_times_must_be_times_too(claim: str, value: object) -> None:
    with pytest.raises(OutsideTokenInvalid, match=f"{claim} is not a time"):
        read_at_now(**{claim: value})


@pytest.mark.parametrize("subject", ["a", "a" * 255, "auth0|5f7c", "Äpfel ☂", "google:1 2"])
def test_subjects_are_any_printable_text(subject: str) -> None:
    assert read_at_now(sub=subject).subject == subject


@pytest.mark.parametrize(
    "email", [None, "", "nobody", "a\x00@b.co", "älice@example.com", "x@identity.invalid", "a" * 300]
)
def test_an_address_that_we_do_not_take_is_left_out(email: str | None) -> None:
    assert read_at_now(email=email).email is None


@pytest.mark.parametrize("email", [5, True, ["alice@example.com"], {"a": 1}])
def test_an_address_that_is_no_text_is_left_out(email: object) -> None:
    assert read_at_now(email=email).email is None


def test_an_address_that_the_provider_has_not_verified_is_left_out() -> None:
    assert read_at_now(email="alice@example.com", email_verified=False).email is None
    assert read_at_now(email="alice@example.com", email_verified=True).email == "alice@example.com"


def test_without_a_configured_issuer_and_audience_those_claims_are_free(settings: Any) -> None:
    settings.AUTH_JWT_ISSUER = settings.AUTH_JWT_AUDIENCE = ""
    assert read_at_now(iss=None, aud=None) == OutsideToken("", "alice-at-idp", None)
    assert read_at_now(iss="elsewhere", aud="anybody").issuer == "elsewhere"


@pytest.mark.parametrize("issuer", [" ", "a" * 256, "a\x00b", "\ud800"])
def test_an_issuer_that_the_database_could_not_hold_is_refused(settings: Any, issuer: str) -> None:
    settings.AUTH_JWT_ISSUER = ""
    with pytest.raises(OutsideTokenInvalid, match="iss is not a name"):
        read_at_now(iss=issuer)
