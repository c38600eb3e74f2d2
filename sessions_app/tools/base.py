"""What a tool is. One file each; `registry.py` lists them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

# `cached`: the same call was answered before. `refused`: by a permission or a limit; nothing ran.
Status = Literal["success", "cached", "error", "refused", "timeout", "cancelled"]


class ToolFailed(Exception):
    """A tool could not do it. `message` is read by the model, and by people in the turn's events."""

    def __init__(self, message: str, *, code: str = "failed") -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class Arguments(BaseModel):
    """Arguments are what a model wrote: what is not asked for is an error, and nothing is bent into shape."""

    model_config = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, slots=True)
class Scope:
    """In whose name a tool runs, and how much it may answer. `files`: the ids that the agent may read, None for all."""

    user_id: UUID
    room_id: UUID
    agent_id: UUID
    files: frozenset[UUID] | None
    room_bytes: int


class Tool(ABC):
    """Name and description are what a model is told; `arguments` says what it must give, `run` is given no other."""

    name: ClassVar[str]
    description: ClassVar[str]
    arguments: ClassVar[type[Arguments]]
    # Offered only in rooms that have files which the agent may read.
    reads_files: ClassVar[bool] = False

    def is_configured(self) -> bool:
        """Whether this deployment can run it at all."""
        return True

    def parameters(self) -> Mapping[str, Any]:
        """The JSON Schema of the arguments, as plain as providers want it."""
        schema: Mapping[str, Any] = _plain(self.arguments.model_json_schema())
        return schema

    @abstractmethod
    async def run(self, arguments: Any, scope: Scope) -> str:
        """The result as text of at most `scope.room_bytes`. Raises: ToolFailed. Whatever else it raises is a bug."""


def _plain(schema: Any) -> Any:
    """Without titles, which say what the names say."""
    if isinstance(schema, dict):
        named = schema.get("properties")
        plain = {key: _plain(value) for key, value in schema.items() if key != "title" or not isinstance(value, str)}
        if isinstance(named, dict):
            plain["properties"] = {key: _plain(value) for key, value in named.items()}
        return plain
    return [_plain(item) for item in schema] if isinstance(schema, list) else schema
