"""Where the bytes lie: a folder that all processes share, or a bucket. Chosen in STORAGES, asked through `storage`.

Both say with `OSError` that they do not answer, and with `FileNotFoundError` that there is no such object.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, Self

from boto3 import Session
from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from storages.backends import s3

# An object's key and when it was stored.
Stored = tuple[str, datetime]
_ARRIVING = ".arriving"
# Together at most six seconds; DATABASE_IDLE_IN_TRANSACTION_MS is ten.
_BRIEF = Config(connect_timeout=2, read_timeout=4, retries={"total_max_attempts": 1})


class FolderStorage(FileSystemStorage):
    """Files of a folder. One that is not there whole is not there at all, also after a crash.

    A folder that is missing as a whole, or has nothing in it where something should be, is one on which nothing is
    mounted: it does not answer. `makes_root`: it is made where it is missing.
    """

    def __init__(self, *, makes_root: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self.makes_root = makes_root

    def _root(self) -> Path:
        root = Path(self.location)
        if self.makes_root:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not root.is_dir():
            raise NotADirectoryError(f"{root} is not there")
        return root

    def exists(self, name: str) -> bool:
        self._root()
        return super().exists(name)

    def open(self, name: str, mode: str = "rb") -> File[bytes]:
        root = self._root()
        try:
            return super().open(name, mode)
        except FileNotFoundError:
            if not any(root.iterdir()):
                raise NotADirectoryError(f"{root} is empty") from None
            raise

    def _save(self, name: str, content: Any) -> str:
        root = self._root()
        target, arriving = Path(self.path(name)), root / _ARRIVING
        for folder in (target.parent, arriving):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        content.seek(0)
        with tempfile.NamedTemporaryFile(dir=arriving, delete=False) as copy:
            try:
                shutil.copyfileobj(content, copy)
                copy.flush()
                os.fsync(copy.fileno())
                Path(copy.name).replace(target)
            except BaseException:
                Path(copy.name).unlink(missing_ok=True)
                raise
        return name

    def objects(self) -> Iterator[Stored]:
        """All there is, what a crash has left of an upload included."""
        root = self._root()
        for folder, _, names in os.walk(root):
            for name in names:
                path = Path(folder) / name
                try:
                    changed_at = path.stat().st_mtime
                except FileNotFoundError:
                    continue
                yield path.relative_to(root).as_posix(), datetime.fromtimestamp(changed_at, UTC)


class S3Storage(s3.S3Storage):  # type: ignore[misc]
    """A bucket, through one client for the whole process, and one that gives up sooner for what is asked under a lock.

    django-storages keeps one for each thread, and under ASGI each request has its own: making one takes a tenth of a
    second. Clients may be shared between threads; what django-storages uses, resources, may not.
    """

    def __init__(self, **settings: Any) -> None:
        # Path style, and no checksums of Amazon's own, because that is what others who speak S3 understand.
        settings.setdefault("client_config", Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if settings.get("endpoint_url") else "auto"},
            connect_timeout=3,
            read_timeout=20,
            retries={"total_max_attempts": 2, "mode": "standard"},
            max_pool_connections=32,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ))  # fmt: skip
        # In the caller's thread, where it would start ten for each upload.
        settings.setdefault("transfer_config", TransferConfig(use_threads=False))
        super().__init__(**settings)
        self._clients: dict[str, Any] = {}
        self._making = Lock()

    @property
    def client(self) -> Any:
        return self._made("patient", self.client_config)

    @property
    def brief_client(self) -> Any:
        """Ends well before a transaction that waits for it is ended by the database (and its lock with it)."""
        return self._made("brief", self.client_config.merge(_BRIEF))

    def _made(self, name: str, config: Config) -> Any:
        with self._making:
            if name not in self._clients:
                session = Session(aws_access_key_id=self.access_key, aws_secret_access_key=self.secret_key)
                self._clients[name] = session.client(
                    "s3", region_name=self.region_name, endpoint_url=self.endpoint_url, config=config
                )
            return self._clients[name]

    def _save(self, name: str, content: Any) -> str:
        content.seek(0)
        # boto3 closes what it is given; the caller may want to store it once more.
        with _as_os_errors(), os.fdopen(os.dup(content.fileno()), "rb") as copy:
            self.client.upload_fileobj(copy, self.bucket_name, name, Config=self.transfer_config)
        return name

    def _open(self, name: str, mode: str = "rb") -> BinaryIO:
        with _as_os_errors():
            return _Body(self.client.get_object(Bucket=self.bucket_name, Key=name)["Body"])  # type: ignore[return-value]

    def exists(self, name: str) -> bool:
        try:
            with _as_os_errors():
                self.brief_client.head_object(Bucket=self.bucket_name, Key=name)
        except FileNotFoundError:
            return False
        return True

    def delete(self, name: str) -> None:
        with _as_os_errors():
            self.brief_client.delete_object(Bucket=self.bucket_name, Key=name)

    def objects(self) -> Iterator[Stored]:
        with _as_os_errors():
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket_name):
                for entry in page.get("Contents", ()):
                    yield entry["Key"], entry["LastModified"]


class _Body:
    """What comes of an object. One that ends before its length is an error, which botocore's own context hides."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def read(self, size: int | None = None) -> bytes:
        with _as_os_errors():
            data: bytes = self._body.read(size)
            return data

    def close(self) -> None:
        self._body.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _as_os_errors() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in {"404", "NoSuchKey"}:
            raise FileNotFoundError(str(error)) from None
        raise OSError(str(error)) from error
    except (BotoCoreError, S3UploadFailedError) as error:
        raise OSError(str(error)) from error
