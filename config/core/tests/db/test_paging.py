from __future__ import annotations

import base64
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from config.core.ids import uuid7
from config.core.models import IdempotencyKey
from config.core.paging import KeysetPagination

pytestmark = pytest.mark.django_db
CALLER = uuid7()


def make_rows(count: int) -> list[str]:
    """Rows of any model will do; returns their keys, newest first."""
    keys = [f"{IdempotencyKey.objects.count() + number:03}" for number in range(count)]
    for key in keys:
        IdempotencyKey.objects.create(caller_id=CALLER, key=key, resource_id=uuid7())
    return keys[::-1]


def page(url: str = "/", *, ordering: str | None = None, **params: object) -> dict[str, Any]:
    request = Request(APIRequestFactory().get(url + (f"?{urlencode(params)}" if params else "")))
    view = SimpleNamespace(**({} if ordering is None else {"keyset_ordering": ordering}))
    paginator = KeysetPagination()
    rows = paginator.paginate_queryset(IdempotencyKey.objects.all(), request, view)
    body: dict[str, Any] = paginator.get_paginated_response([row.key for row in rows or []]).data
    return body


def cursor(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_page_has_three_members() -> None:
    keys = make_rows(3)
    assert page() == {"next": None, "previous": None, "results": keys}


def test_no_rows_are_an_empty_page() -> None:
    assert page() == {"next": None, "previous": None, "results": []}


def test_fifty_rows_are_a_page_unless_asked_for_less_or_up_to_200() -> None:
    keys = make_rows(201)
    assert page()["results"] == keys[:50]
    assert page(page_size=1)["results"] == keys[:1]
    assert page(page_size=200)["results"] == keys[:200]


@pytest.mark.parametrize("size", ["0", "-1", "201", "1e1", "1.0", "x", "", " 5", "٣", "1\x00", "9" * 5000, "²"])
def test_another_page_size_is_refused(size: str) -> None:
    with pytest.raises(ValidationError):
        page(page_size=size)


def test_the_links_lead_through_all_rows_once_and_back_again() -> None:
    keys = make_rows(25)
    pages = [page(page_size=10)]
    while pages[-1]["next"]:
        pages.append(page(pages[-1]["next"]))
    assert [row for body in pages for row in body["results"]] == keys
    assert [len(body["results"]) for body in pages] == [10, 10, 5]
    back = page(pages[-1]["previous"])
    assert back["results"] == pages[1]["results"]
    assert page(back["previous"])["results"] == pages[0]["results"]


def test_rows_that_arrive_meanwhile_shift_nothing() -> None:
    keys = make_rows(20)
    first = page(page_size=10)
    make_rows(15)
    assert page(first["next"])["results"] == keys[10:]


def test_rows_that_go_away_meanwhile_shift_nothing() -> None:
    keys = make_rows(20)
    first = page(page_size=10)
    IdempotencyKey.objects.filter(key__in=keys[5:12]).delete()
    assert page(first["next"])["results"] == keys[12:]


def test_the_links_keep_the_page_size() -> None:
    make_rows(5)
    assert "page_size=2" in urlsplit(page(page_size=2)["next"]).query


def test_a_view_may_name_another_unique_key() -> None:
    keys = make_rows(5)
    first = page(ordering="key", page_size=3)
    assert first["results"] == keys[::-1][:3]
    assert page(first["next"], ordering="key")["results"] == keys[::-1][3:]


@pytest.mark.parametrize(
    "text",
    [
        *("x", "é", "\x00", "%%%", "====", "a" * 10_000),
        *(cursor("p=not-a-uuid"), cursor("p="), cursor("p=\x00"), cursor("p=5&r=1"), cursor("r=x&p=1")),
        *(cursor("o=-1"), cursor("o=x"), cursor("o=" + "9" * 5000), cursor("p=" + "f" * 33), cursor("p=a&p=b")),
    ],
)
def test_a_cursor_that_is_not_ours_is_refused_or_harmless(text: str) -> None:
    make_rows(2)
    with suppress(ValidationError):
        assert set(page(cursor=text)) == {"next", "previous", "results"}


def test_a_cursor_of_garbage_is_refused() -> None:
    for text in ("x", cursor("p=not-a-uuid"), cursor("o=-1")):
        with pytest.raises(ValidationError, match="not one of ours"):
            page(cursor=text)
    with pytest.raises(ValidationError, match="not one of ours"):
        page(cursor=cursor("p=\x00"), ordering="key")
