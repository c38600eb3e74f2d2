"""The base of turn views, on views of its own: what DRF promises must hold for async handlers too."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient
from rest_framework.test import APIClient

from config.core.tests.api.views import SECRET

# `admitted` takes a thread with a database connection of its own.
pytestmark = [pytest.mark.urls("config.core.tests.api.urls"), pytest.mark.django_db]
ALICE = {"Authorization": "Name alice"}


@pytest.fixture
def client() -> APIClient:
    return APIClient(raise_request_exception=False)


def test_an_admitted_caller_is_answered(client: APIClient) -> None:
    response = client.get("/async/orders", headers=ALICE)
    assert (response.status_code, response.json()) == (200, {"name": "alice"})
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Allow"] == "GET, POST, HEAD, OPTIONS"


def test_a_body_is_parsed_and_validated(client: APIClient) -> None:
    response = client.post("/async/orders", {"name": "a"}, headers=ALICE)
    assert (response.status_code, response.json()) == (201, {"name": "a"})
    response = client.post("/async/orders", {"nam": "a"}, headers=ALICE)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "nam")


@pytest.mark.parametrize(
    ("headers", "code"), [({}, "not_authenticated"), ({"Authorization": "Name mallory"}, "token_invalid")]
)
def test_who_is_not_known_gets_401_with_the_scheme(client: APIClient, headers: dict[str, str], code: str) -> None:
    for response in (
        client.get("/async/orders", headers=headers),
        client.post("/async/orders", {"name": "a"}, headers=headers),
        client.get("/async/stream", headers=headers),
    ):
        assert (response.status_code, response.json()["code"]) == (401, code)
        assert response.headers["WWW-Authenticate"] == "Name"
        assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("method", ["delete", "put", "patch"])
def test_another_method_is_405(client: APIClient, method: str) -> None:
    response = getattr(client, method)("/async/orders", headers=ALICE)
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert response.headers["Allow"] == "GET, POST, HEAD, OPTIONS"


def test_options_and_head_are_answered(client: APIClient) -> None:
    assert client.options("/async/orders", headers=ALICE).status_code == 200
    response = client.head("/async/orders", headers=ALICE)
    assert (response.status_code, response.content) == (200, b"")


def test_a_representation_that_is_not_offered_is_406(client: APIClient) -> None:
    response = client.get("/async/orders", headers={**ALICE, "Accept": "text/csv"})
    assert (response.status_code, response.json()["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize("body", ["{", '{"name": NaN}', "[" * 100_000, b"\xff"])
def test_what_is_no_json_is_400(client: APIClient, body: Any) -> None:
    response = client.generic("POST", "/async/orders", body, content_type="application/json", headers=ALICE)
    assert (response.status_code, response.json()["code"]) == (400, "malformed_json")


def test_another_media_type_is_415(client: APIClient) -> None:
    response = client.generic("POST", "/async/orders", "a", content_type="text/plain", headers=ALICE)
    assert response.status_code == 415


def test_a_bug_is_a_problem_without_a_traceback(client: APIClient) -> None:
    response = client.get("/async/fails/bug")
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert SECRET not in response.content.decode()
    assert "Traceback" not in response.content.decode()


def test_a_stream_passes_through_as_it_is(client: APIClient) -> None:
    async def read() -> tuple[Any, bytes]:
        response: Any = await AsyncClient().get("/async/stream", headers=ALICE)
        return response, b"".join([chunk async for chunk in response.streaming_content])

    response, body = async_to_sync(read)()
    assert body == b"id: 1\n\nid: 2\n\n"
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["X-Request-ID"]


def test_a_real_event_loop_gets_the_same_answers() -> None:
    async def ask(path: str, **headers: str) -> tuple[int, str, dict[str, Any]]:
        response = await AsyncClient(raise_request_exception=False).get(path, headers={**ALICE, **headers})
        return response.status_code, response.headers["X-Request-ID"], json.loads(response.content)

    status, request_id, body = async_to_sync(ask)("/async/orders", **{"X-Request-ID": "from-the-client"})
    assert (status, request_id, body) == (200, "from-the-client", {"name": "alice"})
    status, _, body = async_to_sync(ask)("/async/fails/teapot")
    assert (status, body["code"]) == (418, "teapot")
    status, _, body = async_to_sync(ask)("/nowhere")
    assert (status, body["code"]) == (404, "not_found")
