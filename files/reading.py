"""What agents may read of files: a slice of a text, passages by words, a list. Ids in, plain data out, nothing written.

A file that is not there, another user's, of another or a deleted room, and one that is not `allowed` are all the same:
nothing. `allowed` None means every file of the room.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from files import rooms
from files.models import FilePassage, UploadedFile
from files.passages import PASSAGE_MAX_CHARS

QUERY_MAX_CHARS = 1_000


@dataclass(frozen=True, slots=True)
class FileInfo:
    id: UUID
    name: str
    kind: str
    size_bytes: int
    characters: int
    parse_status: str


@dataclass(frozen=True, slots=True)
class FileSlice:
    """`text` begins at character `offset` of `total`; `next_offset` is where to read on, None at the end.

    Without a text, for which `parse_status` is the reason, `total` is 0.
    """

    file_id: UUID
    name: str
    text: str
    offset: int
    next_offset: int | None
    total: int
    parse_status: str


@dataclass(frozen=True, slots=True)
class Passage:
    """`text` begins at character `start_char` of its file. A higher `rank` fits the query better."""

    file_id: UUID
    name: str
    position: int
    start_char: int
    rank: float
    text: str


def files_of(*, user_id: UUID, room_id: UUID, allowed: Collection[UUID] | None) -> list[FileInfo]:
    """Oldest first."""
    return [
        FileInfo(file.id, file.name, file.kind, file.size_bytes, file.characters, file.parse_status)
        for file in _readable(user_id, room_id, allowed).order_by("id")
    ]


def read_text(
    *, user_id: UUID, room_id: UUID, file_id: UUID, offset: int, limit: int, allowed: Collection[UUID] | None
) -> FileSlice | None:
    """Up to `limit` characters from `offset` on; an offset beyond the text gives none of it."""
    file = _readable(user_id, room_id, allowed).filter(id=file_id).first()
    if file is None:
        return None
    start, end = max(0, offset), max(0, offset) + max(0, limit)
    # No passage is longer, so those before this one cannot reach the slice.
    within = {"start_char__gt": start - PASSAGE_MAX_CHARS, "start_char__lt": end}
    pieces = FilePassage.objects.filter(file_id=file.id, **within).order_by("start_char")
    found = list(pieces.values_list("start_char", "text"))
    first = found[0][0] if found else start
    text = "".join(piece for _, piece in found)[start - first : end - first]
    read_to = start + len(text)
    next_offset = read_to if read_to < file.characters else None
    return FileSlice(file.id, file.name, text, start, next_offset, file.characters, file.parse_status)


def search_passages(
    *, user_id: UUID, room_id: UUID, query: str, limit: int, allowed: Collection[UUID] | None
) -> list[Passage]:
    """Best first. Takes what people type: words, "a phrase", -not, or. Where no passage has all words: any of them."""
    ids = list(_readable(user_id, room_id, allowed).filter(parse_status="completed").values_list("id", flat=True))
    asked = query.replace("\x00", "").encode("utf-8", "ignore").decode()[:QUERY_MAX_CHARS]
    if not ids or not asked.strip() or limit <= 0:
        return []
    return _found(_ALL_WORDS, asked, ids, limit) or _found(_ANY_WORD, asked, ids, limit)


_ALL_WORDS = "websearch_to_tsquery('simple', %(asked)s)"
# Words are quoted by PostgreSQL itself, so only its own `&` is replaced.
_ANY_WORD = "replace(plainto_tsquery('simple', %(asked)s)::text, ' & ', ' | ')::tsquery"


def _found(words: str, asked: str, ids: list[UUID], limit: int) -> list[Passage]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT f.id, f.name, p.position, p.start_char, ts_rank_cd(p.words, q, 1), p.text
                  FROM (SELECT {words} AS q) AS asked, file_passages p JOIN uploaded_files f ON f.id = p.file_id
                 WHERE p.words @@ q AND p.file_id = ANY(%(ids)s)
                 ORDER BY 5 DESC, f.id, p.start_char LIMIT %(limit)s""",  # noqa: S608 - constants only
            {"asked": asked, "ids": ids, "limit": limit},
        )
        return [Passage(*row) for row in cursor.fetchall()]


def beginnings(*, user_id: UUID, room_id: UUID, limit: int, allowed: Collection[UUID] | None) -> list[Passage]:
    """The first passages of the files that were added first."""
    files = list(_readable(user_id, room_id, allowed).filter(parse_status="completed").order_by("id")[:limit])
    first = dict(FilePassage.objects.filter(file__in=files, start_char=0).values_list("file_id", "text"))
    return [Passage(file.id, file.name, 0, 0, 0.0, first[file.id]) for file in files if file.id in first]


def _readable(user_id: UUID, room_id: UUID, allowed: Collection[UUID] | None) -> QuerySet[UploadedFile]:
    if not rooms.owns(user_id=user_id, room_id=room_id):
        return UploadedFile.objects.none()
    narrowed: dict[str, Any] = {} if allowed is None else {"id__in": list(allowed)}
    return UploadedFile.objects.filter(user_id=user_id, room_id=room_id, **narrowed)
