"""The bytes of a file, streamed to whoever uploaded it, and so that no browser takes them for a page of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import BinaryIO
from urllib.parse import quote

from django.http import StreamingHttpResponse

from config.core.errors import NotFound
from files import storage
from files.models import UploadedFile
from files.parsing.sniffing import CONTENT_TYPES

_THREADS = 8


class StoredBytes:
    """Read in threads of our own: a storage that does not answer must not keep others from theirs."""

    def __init__(self, source: BinaryIO) -> None:
        self.source = source

    async def __aiter__(self) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        while chunk := await loop.run_in_executor(_threads(), self.source.read, storage.CHUNK_BYTES):
            yield chunk

    def close(self) -> None:
        """Django's, at the end of the response, however it comes."""
        self.source.close()


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="files-content")


def content_response(file: UploadedFile) -> StreamingHttpResponse:
    """Raises: NotFound where the storage has lost it, StorageUnavailable."""
    # What follows takes as long as the storage and the client do.
    storage.give_connection_back()
    try:
        source = storage.opened(file.storage_key)
    except FileNotFoundError:
        raise NotFound("The content of this file is gone.") from None
    response = StreamingHttpResponse(StoredBytes(source), content_type=CONTENT_TYPES[file.kind])
    response["Content-Length"] = str(file.size_bytes)
    response["Content-Disposition"] = attachment(file.name)
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["Cache-Control"] = "private, no-store"
    return response


def attachment(name: str) -> str:
    """Both forms of RFC 6266: in ASCII for those who read no more, and the name itself."""
    plain = "".join(char if char.isascii() and char not in '"\\%' else "_" for char in name)
    header = f'attachment; filename="{plain}"'
    return header if plain == name else f"{header}; filename*=UTF-8''{quote(name, safe='')}"
