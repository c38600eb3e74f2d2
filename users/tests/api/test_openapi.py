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
        ("token", "post"): ["200", "400", "401", "413", "422"],
        ("logout", "post"): ["204", "401", "422"],
        ("me", "get"): ["200", "401", "503"],
    }


def test_only_register_and_token_need_no_bearer(paths: dict[str, Any]) -> None:
    open_to_all = {
        path for path, operations in paths.items() for operation in operations.values() if operation["security"] == [{}]
    }
    assert open_to_all == {"/api/v1/auth/register", "/api/v1/auth/token"}
