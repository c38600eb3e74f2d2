"""OpenAPI: every operation names its error answers as problem documents."""

from __future__ import annotations

from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse


def problems(*codes: str) -> dict[Any, Any]:
    """`responses` entries for `extend_schema`: `**problems("402 insufficient_credits", "404 not_found")`."""
    grouped: dict[str, list[str]] = {}
    for item in codes:
        status, code = item.split(" ")
        grouped.setdefault(status, []).append(f"`{code}`")
    return {
        (status, "application/problem+json"): OpenApiResponse(OpenApiTypes.OBJECT, description=", ".join(names))
        for status, names in grouped.items()
    }


class ProblemAutoSchema(AutoSchema):
    """Operation ids without the `api_v1` prefix; tags from the first path segment after it."""

    def get_tags(self) -> list[str]:
        parts = [part for part in self.path.split("/") if part and not part.startswith("{")]
        return [parts[2] if len(parts) > 2 else parts[-1]]

    def _is_list_view(self, serializer: Any = None) -> bool:
        """By what a 200 says, where that is declared: the first of all answers would be a problem document."""
        answers = self.get_response_serializers() if serializer is None else serializer
        declared = answers.get(200, answers) if isinstance(answers, dict) else answers
        return bool(super()._is_list_view(declared))
