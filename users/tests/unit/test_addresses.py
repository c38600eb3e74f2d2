from __future__ import annotations

from uuid import UUID

import pytest
from django.core.exceptions import ValidationError

from users.addresses import is_placeholder, placeholder, validate_address


@pytest.mark.parametrize(
    "address", ["alice@example.com", "Alice.B+tag@Example.COM", "a@b.co", "x@xn--bcher-kva.example"]
)
def test_ordinary_addresses_pass(address: str) -> None:
    validate_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "alice",
        "alice@",
        "@example.com",
        "alice@example",
        "alice bob@example.com",
        "alice@example.com\n",
        "al\x00ice@example.com",
        "älice@example.com",
        "alice@bücher.example",
        # The Kelvin sign is a K to Python's case folding, and another letter to some databases.
        "\u212aim@example.com",
        "a" * 243 + "@example.com",
    ],
)
def test_what_is_no_ascii_address_of_at_most_254_characters_is_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        validate_address(address)


def test_an_address_of_254_characters_passes() -> None:
    validate_address("a@" + ".".join(["b" * 61] * 4) + ".com")


def test_nobody_can_bring_a_placeholder() -> None:
    own = placeholder(UUID(int=7))
    assert own == "00000000-0000-0000-0000-000000000007@identity.invalid"
    assert is_placeholder(own)
    assert is_placeholder("x@IDENTITY.invalid")
    with pytest.raises(ValidationError):
        validate_address(own)
