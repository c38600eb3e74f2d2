from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from rest_framework import serializers

from config.core.fields import ClosedSerializer, CreditsField, CreditsOut, UsageCreditsOut


class Payment(ClosedSerializer):
    amount = CreditsField(positive=True)


class Bill(serializers.Serializer[Any]):
    amount = CreditsOut()
    usage = UsageCreditsOut()


def refusal(body: object) -> dict[str, str]:
    payment = Payment(data=body)
    assert not payment.is_valid()
    return {name: details[0].code for name, details in payment.errors.items()}


def test_credits_come_in_as_decimal_strings() -> None:
    payment = Payment(data={"amount": "12.34500000"})
    assert payment.is_valid()
    assert payment.validated_data == {"amount": Decimal("12.34500000")}


@pytest.mark.parametrize("amount", [5, 5.5, True, "1e3", "NaN", "", "10000000000", "0.000000001", [], {}])
def test_anything_else_is_no_amount(amount: object) -> None:
    assert refusal({"amount": amount}) == {"amount": "invalid_amount"}


@pytest.mark.parametrize("amount", ["0", "-1", "-0.00000001", "+0.00000000"])
def test_where_it_must_be_positive_zero_is_not(amount: str) -> None:
    assert refusal({"amount": amount}) == {"amount": "not_positive"}


def test_credits_go_out_with_fixed_places() -> None:
    bill = {"amount": Decimal("0.0252"), "usage": Decimal("0.00617")}
    assert Bill(bill).data == {"amount": "0.02520000", "usage": "0.0062"}


def test_an_unknown_member_is_refused_by_name() -> None:
    assert refusal({"amount": "1", "ammount": "2"}) == {"ammount": "unknown_field"}


def test_of_many_unknown_members_the_first_are_named() -> None:
    assert len(refusal({f"name{number}": 1 for number in range(50_000)})) == 20


@pytest.mark.parametrize("body", [None, [], "amount", 5])
def test_a_body_that_is_no_object_is_refused(body: object) -> None:
    assert list(refusal(body)) == ["non_field_errors"]
