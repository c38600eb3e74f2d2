"""Every way in which a request can be refused ends in a problem document."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rest_framework.test import APIClient

from config.core.tests.api.views import SECRET

pytestmark = pytest.mark.urls("config.core.tests.api.urls")


@pytest.fixture
def client() -> APIClient:
    return APIClient(raise_request_exception=False)


def problem_of(response: Any) -> dict[str, Any]:
    """The document, after what is true of each: its type, its five members, its request id, and nothing inside."""
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-Request-ID"]
    body: dict[str, Any] = json.loads(response.content)
    assert body["status"] == response.status_code
    assert body["type"] == f"urn:tallyroom:problem:{body['code']}"
    assert body["title"]
    assert body["detail"].strip()
    assert SECRET not in response.content.decode()
    assert "Traceback" not in response.content.decode()
    return body


def post(client: APIClient, body: Any, content_type: str = "application/json", **headers: str) -> Any:
    return client.generic("POST", "/orders", body, content_type=content_type, headers=headers)


def test_what_is_right_is_answered(client: APIClient) -> None:
    response = post(client, '{"name": "a", "orders": [{"size": "small"}]}')
    assert (response.status_code, response.json()) == (200, {"name": "a", "orders": [{"size": "small"}]})


def test_a_path_that_leads_nowhere_is_404(client: APIClient) -> None:
    for path in ("/nowhere", "/orders/", "/%00", "/%ff", "/" + "x" * 5000):
        assert problem_of(client.get(path))["code"] == "not_found"


def test_a_method_that_is_not_offered_is_405_and_says_which_are(client: APIClient) -> None:
    response = client.delete("/orders")
    assert problem_of(response)["code"] == "method_not_allowed"
    assert (response.status_code, response.headers["Allow"]) == (405, "POST, OPTIONS")


def test_a_representation_that_is_not_offered_is_406(client: APIClient) -> None:
    response = post(client, "{}", Accept="text/csv")
    assert (response.status_code, problem_of(response)["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "x"])
def test_a_body_of_another_type_is_415(client: APIClient, content_type: str) -> None:
    response = post(client, '{"name": "a"}', content_type)
    problem_of(response)
    assert response.status_code == 415


@pytest.mark.parametrize(
    "body",
    [
        *("{", "{'name': 1}", '{"name": "a",}', '{"name": "a"} x', "\x00", '{"name": "\x00"}', "{name: 1}"),
        *('{"name": NaN}', '{"name": Infinity}', '{"name": -Infinity}', '{"name": 1e}'),
        *(b"\xff\xfe", b'{"name": "\xff"}', b"\xef\xbb\xbf{}", '{"name": ' + "9" * 5000 + "}"),
        *("[" * 100_000, '{"a":' * 100_000, '{"name": ' + "[" * 2000 + "]" * 2000 + "}"),
    ],
)
def test_what_is_no_json_is_400(client: APIClient, body: str | bytes) -> None:
    response = post(client, body)
    assert problem_of(response)["code"] == "malformed_json"
    assert response.status_code == 400


def test_wrong_input_is_422_and_names_each_field(client: APIClient) -> None:
    body = problem_of(post(client, '{"name": "too long", "orders": [{"size": "small"}, {"size": "huge"}, {}]}'))
    assert (body["status"], body["code"], body["title"]) == (422, "validation_error", "Invalid input")
    assert [(error["field"], error["code"]) for error in body["errors"]] == [
        ("name", "max_length"),
        ("orders.1.size", "invalid_choice"),
        ("orders.2.size", "required"),
    ]
    assert body["detail"].startswith("name: ")


@pytest.mark.parametrize("body", ["", "{}", "[]", "null", "5", '"x"', '{"name": null}', '{"name": {}}'])
def test_a_body_of_the_wrong_shape_is_422(client: APIClient, body: str) -> None:
    response = post(client, body)
    assert (response.status_code, problem_of(response)["code"]) == (422, "validation_error")


@pytest.mark.parametrize(
    "body",
    [
        '{"name": "\\ud800"}',
        '{"name": "a", "\\ud800": 1}',
        '{"name": "a", "orders": [{"size": "\\udfff"}]}',
        '{"name": "a", "orders": "\\ud800"}',
        '{"name": "a\\u0000b"}',
    ],
)
def test_text_that_utf8_cannot_hold_is_422_and_repeated_escaped(client: APIClient, body: str) -> None:
    response = post(client, body)
    assert (response.status_code, problem_of(response)["code"]) == (422, "validation_error")


def test_a_refusal_does_not_repeat_a_megabyte(client: APIClient) -> None:
    big = "x" * 900_000
    for body in ({"name": "a", "orders": [{"size": big}]}, {"name": "a", big: 1}):
        response = post(client, json.dumps(body))
        assert problem_of(response)["status"] == 422
        assert len(response.content) < 3000


def test_a_domain_error_answers_for_itself(client: APIClient) -> None:
    response = client.get("/fails/teapot")
    assert problem_of(response) == {
        "type": "urn:tallyroom:problem:teapot",
        "title": "A teapot",
        "status": 418,
        "detail": "Short and stout.",
        "code": "teapot",
        "handle": "left",
    }
    assert response.headers["Retry-After"] == "3"


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("bug", 500, "internal_error"),
        ("not-found", 404, "not_found"),
        ("http404", 404, "not_found"),
        ("database-away", 503, "database_unavailable"),
        ("connection-lost", 503, "database_unavailable"),
        ("shut-down", 503, "database_unavailable"),
        ("lock-timeout", 409, "wallet_busy"),
        ("deadlock", 409, "wallet_busy"),
        ("serialization", 409, "wallet_busy"),
        ("throttled", 429, "rate_limited"),
    ],
)
@pytest.mark.parametrize("kind", ["", "/async"])
def test_each_failure_has_its_code_in_plain_and_in_async_views(
    client: APIClient, kind: str, name: str, status: int, code: str
) -> None:
    response = client.get(f"{kind}/fails/{name}")
    assert (problem_of(response)["code"], response.status_code) == (code, status)


def test_a_bug_looks_the_same_to_a_client_that_asks_for_something_else(client: APIClient) -> None:
    for accept in ("*/*", "application/json", "application/problem+json, */*;q=0.5", "text/*, application/*"):
        assert problem_of(client.get("/fails/bug", headers={"Accept": accept}))["code"] == "internal_error"


def test_a_bug_outside_the_api_is_a_problem_too(client: APIClient) -> None:
    assert problem_of(client.get("/plain"))["code"] == "internal_error"


def test_waiting_times_are_said_in_header_and_member(client: APIClient) -> None:
    assert client.get("/fails/throttled").headers["Retry-After"] == "7"
    assert client.get("/fails/database-away").headers["Retry-After"] == "2"
    assert client.get("/fails/lock-timeout").headers["Retry-After"] == "1"
