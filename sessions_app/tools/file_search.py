"""`file_search`: passages of the room's files, found by PostgreSQL's full text search.

Where no word of the query is in any file, it says so and how the files begin: a model that guesses at words, or asks in
another language than the files are in, then learns what it could look for.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from pydantic import Field

from config.core.transactions import in_thread
from files import reading
from files.reading import Passage
from sessions_app.llm.text import clean
from sessions_app.tools.base import Arguments, Scope, Tool
from sessions_app.tools.cutting import beginning
from sessions_app.tools.limits import QUERY_CHARS

PASSAGES = 5
BEGINNINGS = 3
# Small models stop reading at a "nothing was found".
_NOTHING = "Other words than these are in the files. They begin:"


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
        if found:
            return _written(found, scope.room_bytes)
        begin = await in_thread(
            partial(
                reading.beginnings, user_id=scope.user_id, room_id=scope.room_id, limit=BEGINNINGS, allowed=scope.files
            )
        )
        return _written(begin, scope.room_bytes, head=_NOTHING) if begin else "Nothing was found."


def _written(passages: list[Passage], room_bytes: int, *, head: str = "") -> str:
    share = (room_bytes - len(head)) // len(passages)
    written = [head] if head else []
    for rank, passage in enumerate(passages, start=1):
        where = f"{rank}. {passage.name} (file_id {passage.file_id}, offset {passage.start_char})"
        written.append(beginning(f"{where}\n{passage.text}", share - 2))
    return "\n\n".join(written)
