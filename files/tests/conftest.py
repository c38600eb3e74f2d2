"""Each test of files has a storage of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _own_storage(settings: Any, tmp_path: Path) -> None:
    folder = {
        "BACKEND": "files.backends.FolderStorage",
        "OPTIONS": {"location": str(tmp_path / "files"), "makes_root": True},
    }
    settings.STORAGES = {**settings.STORAGES, "files": folder}
