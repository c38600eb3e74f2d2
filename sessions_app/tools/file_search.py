"""`file_search`: passages of the room's files, found by PostgreSQL's full text search."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from pydantic import Field

from config.core.transactions import in_thread
from files import reading
from sessions_app.llm.text import clean
from sessions_app.tools.base import Arguments, Scope, Tool
from sessions_app.tools.cutting import beginning
from sessions_app.tools.limits import QUERY_CHARS

PASSAGES = 5


class FileSearchArguments(Arguments):
    query: str = Field(min_length=1, max_length=QUERY_CHARS, description="Words to look for.")


class FileSearch(Tool):
    name: ClassVar[str] = "file_search"
    description: ClassVar[str] = "Find passages in the files of this room. Gives file, position and text, best first."
    arguments: ClassVar[type[Arguments]] = FileSearchArguments
    reads_files: ClassVar[bool] = True

    async def run(self, arguments: FileSearchArguments, scope: Scope) -> str:
        found = await in_thread(
            partial(
                reading.search_passages, user_id=scope.user_id, room_id=scope.room_id, query=clean(arguments.query),
                limit=PASSAGES, allowed=scope.files,
            )
        )  # fmt: skip
        if not found:
            return "Nothing was found."
        share = scope.room_bytes // len(found)
        written = []
        for rank, passage in enumerate(found, start=1):
            head = f"{rank}. {passage.name} (file_id {passage.file_id}, offset {passage.start_char})"
            written.append(beginning(f"{head}\n{passage.text}", share - 2))
        return "\n\n".join(written)
