"""Make `.venv` and install what a stamp file promises. Runs on the bare interpreter, before anything is installed.

Usage: install.py production|dev. Safe to interrupt (what was half-installed is made anew) and to run twice at once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
# There while pip works: a package that it had half-copied looks installed to the next pip.
UNFINISHED = VENV / ".unfinished"
REQUIREMENTS = {"production": ROOT / "requirements.txt", "dev": ROOT / "requirements-dev.txt"}
# The development requirements contain the production ones.
IMPLIED = {"production": ["production"], "dev": ["dev", "production"]}


def main(kind: str) -> None:
    lock = take_lock()
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in REQUIREMENTS.items()}
    if not is_usable():
        shutil.rmtree(VENV, ignore_errors=True)
    if not is_installed(kind, digests[kind]):
        install(kind, lock)
    for name in IMPLIED[kind]:
        stamp(name).write_text(digests[name])


def stamp(kind: str) -> Path:
    return VENV / f".{kind}"


def take_lock() -> int:
    """Hold the checkout's folder; pip inherits the lock, so that it also holds when this process is killed."""
    lock = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("Waiting for another installation into .venv ...")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def is_usable() -> bool:
    """Whether what lies in `.venv` was finished, and its interpreter still exists and is new enough."""
    if UNFINISHED.exists() or not VENV_PYTHON.exists():
        return False
    check = [VENV_PYTHON, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    return subprocess.run(check, check=False).returncode == 0


def is_installed(kind: str, digest: str) -> bool:
    return stamp(kind).exists() and stamp(kind).read_text() == digest


def install(kind: str, lock: int) -> None:
    requirements = REQUIREMENTS[kind]
    count = sum(line[:1].isalnum() for line in requirements.read_text().splitlines())
    version = ".".join(map(str, sys.version_info[:3]))
    say(f"Installing up to {count} packages into .venv (Python {version}); the first time takes a minute or two ...")
    started = time.monotonic()
    VENV.mkdir(exist_ok=True)
    UNFINISHED.touch()
    if not VENV_PYTHON.exists():
        run([sys.executable, "-m", "venv", VENV], lock)
    options = ["--quiet", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    run([VENV_PYTHON, "-m", "pip", "install", *options, "--requirement", requirements], lock)
    UNFINISHED.unlink()
    say(f"Installed in {time.monotonic() - started:.0f} s.")


def run(command: list[str | Path], lock: int) -> None:
    # A `user = true` in pip's configuration is meant for the system's Python and is an error in here.
    environment = {**os.environ, "PIP_USER": "0"}
    code = subprocess.run(command, env=environment, pass_fds=[lock], check=False).returncode
    if code:
        sys.exit("The installation failed; what went wrong stands above.")


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        sys.exit(130)
