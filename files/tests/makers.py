"""People, rooms and uploads for tests. Uploads go through HTTP, because there is no other way in."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from files import storage
from sessions_app import services
from sessions_app.tests.makers import Person


def client_of(person: Person) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {person.token}")
    return client


def make_room(person: Person) -> UUID:
    return services.create_room(user_id=person.id, fields={"name": "Room", "mode": "roundtable"}).id


def upload(person: Person, room_id: UUID, data: bytes, name: str = "notes.txt", **fields: Any) -> Any:
    """The answer to a POST of these bytes under this name."""
    body = {"file": SimpleUploadedFile(name, data), **fields}
    return client_of(person).post(f"/api/v1/rooms/{room_id}/files", body, format="multipart")


def multipart(data: bytes, name: str, *, field: str = "file", boundary: str = "xyz") -> bytes:
    """A body as a client would write it that cleans no names."""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
    return head.encode() + b"Content-Type: text/plain\r\n\r\n" + data + f"\r\n--{boundary}--\r\n".encode()


def post_raw(
    person: Person, room_id: UUID, body: bytes, content_type: str = "multipart/form-data; boundary=xyz"
) -> Any:
    return client_of(person).generic("POST", f"/api/v1/rooms/{room_id}/files", body, content_type=content_type)


def stored_keys() -> list[str]:
    return sorted(key for key, _ in storage.backend().objects())


def body_of(response: Any) -> bytes:
    """The whole of a streamed answer."""

    async def gathered() -> bytes:
        return b"".join([chunk async for chunk in response.streaming_content])

    data = asyncio.run(gathered())
    # Not `response.close()`, which would close the test's own connection, too.
    for close in response._resource_closers:
        close()
    return data


def folder_of(key: str) -> Path:
    return Path(settings.STORAGES["files"]["OPTIONS"]["location"]) / key
