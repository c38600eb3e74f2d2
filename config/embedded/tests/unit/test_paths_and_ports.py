from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from config.embedded import paths
from config.embedded.errors import EmbeddedError
from config.embedded.management.commands.run_all import chosen_port
from config.embedded.ports import LOOPBACK, free_port, is_free


def test_a_secret_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    secret = paths.persisted_secret(tmp_path, "key")
    assert len(secret) >= 50
    assert paths.persisted_secret(tmp_path, "key") == secret
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_a_secret_whose_writing_was_interrupted_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    assert len(paths.persisted_secret(tmp_path, "key")) >= 50


def test_what_the_wheels_bring_is_found() -> None:
    assert (paths.bundled_postgres() / "bin" / "postgres").is_file()
    assert paths.bundled_redis_server().is_file()
    assert paths.bundled_model().suffix == ".gguf"


def test_a_package_that_is_missing_is_named() -> None:
    with pytest.raises(EmbeddedError, match="no_such_package is not installed"):
        paths.package_folder("no_such_package")


def test_the_demo_says_how_it_wants_to_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(paths.DATA_DIR_VARIABLE, raising=False)
    with pytest.raises(EmbeddedError, match="start this through make"):
        paths.current_data_folder()


def test_a_port_that_somebody_listens_on_is_not_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert not is_free(port)
        monkeypatch.setenv("PORT", str(port))
        with pytest.raises(EmbeddedError, match=f"port {port} is in use: choose another with `make run PORT=`"):
            chosen_port()
    assert is_free(free_port())


@pytest.mark.parametrize("text", ["http", "0", "65536", "-1"])
def test_what_is_not_a_port_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("PORT", text)
    with pytest.raises(EmbeddedError, match="is not a port"):
        chosen_port()
