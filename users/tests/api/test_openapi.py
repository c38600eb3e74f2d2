from __future__ import annotations

from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator


@pytest.fixture(scope="module")
def paths() -> dict[str, Any]:
    schema: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    assert schema["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    return {path: operations for path, operations in schema["paths"].items() if "/auth/" in path}


def test_the_four_operations_and_their_answers_are_described(paths: dict[str, Any]) -> None:
    answers = {
        (path.removeprefix("/api/v1/auth/"), method): sorted(operation["responses"])
        for path, operations in paths.items()
        for method, operation in operations.items()
    }
    assert answers == {
        ("register", "post"): ["201", "400", "403", "413", "422"],
        ("token", "post"): ["200", "400", "401", "413", "422", "429"],
        ("logout", "post"): ["204", "401", "422"],
        ("me", "get"): ["200", "401", "503"],
    }


def test_only_register_and_token_need_no_bearer(paths: dict[str, Any]) -> None:
    open_to_all = {
        path for path, operations in paths.items() for operation in operations.values() if operation["security"] == [{}]
    }
    assert open_to_all == {"/api/v1/auth/register", "/api/v1/auth/token"}


def test_nothing_is_said_in_the_words_of_openapi_3_0() -> None:
    schema: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    assert schema["openapi"].startswith("3.1")
    assert "nullable" not in str(schema)


def test_every_list_is_described_as_the_pages_that_it_is() -> None:
    schema: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    answers = {
        path: str(operations["get"]["responses"]) for path, operations in schema["paths"].items() if "get" in operations
    }
    lists = {path for path, answer in answers.items() if "'type': 'array'" in answer or "Paginated" in answer}
    assert {"/api/v1/sessions/{session_id}/turns", "/api/v1/sessions/{session_id}/summaries"} <= lists
    for path in lists:
        parameters = {parameter["name"] for parameter in schema["paths"][path]["get"]["parameters"]}
        assert (path, {"cursor", "page_size"} <= parameters, "Paginated" in answers[path]) == (path, True, True)
