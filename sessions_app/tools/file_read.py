"""`file_read`: a file of the room, from an offset on."""

from __future__ import annotations

from functools import partial
from typing import ClassVar
from uuid import UUID

from pydantic import Field

from config.core.transactions import in_thread
from files import reading
from sessions_app.tools.base import Arguments, Scope, Tool, ToolFailed
from sessions_app.tools.cutting import beginning, size_of

_HEAD_BYTES = 400
_CHARS = 8_192


class FileReadArguments(Arguments):
    file_id: str = Field(min_length=1, max_length=64, description="The id of a file of this room.")
    offset: int = Field(default=0, ge=0, le=2**53, description="The character to begin at; 0 is the first.")


class FileRead(Tool):
    name: ClassVar[str] = "file_read"
    description: ClassVar[str] = "Read a file of this room as text, page by page: the answer says where to read on."
    arguments: ClassVar[type[Arguments]] = FileReadArguments
    reads_files: ClassVar[bool] = True

    async def run(self, arguments: FileReadArguments, scope: Scope) -> str:
        try:
            file_id = UUID(arguments.file_id)
        except ValueError:
            raise ToolFailed("There is no such file.", code="not_found") from None
        found = await in_thread(
            partial(
                reading.read_text, user_id=scope.user_id, room_id=scope.room_id, file_id=file_id,
                offset=arguments.offset, limit=_CHARS, allowed=scope.files,
            )
        )  # fmt: skip
        if found is None:
            raise ToolFailed("There is no such file.", code="not_found")
        if found.parse_status != "completed":
            raise ToolFailed(f"The text of this file is not there: it is {found.parse_status}.", code="not_ready")
        text = beginning(found.text, scope.room_bytes - _HEAD_BYTES)
        end = found.offset + len(text)
        more = f"read on at offset {end}" if end < found.total else "this is the end"
        name = beginning(found.name, _HEAD_BYTES // 2)
        head = f"{name}, characters {found.offset} to {end} of {found.total}; {more}."
        result = f"{head}\n{text}"
        assert size_of(result) <= scope.room_bytes  # noqa: S101 - the head was given room
        return result
