"""The parent's side: start a child for one file, wait for it, and kill it when its time is up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from threading import Event, Timer
from typing import BinaryIO

from files.parsing.outcome import Limits, Parsed, ParseFailed, ParserDied

_ROOT = Path(__file__).resolve().parents[2]
_HEADER_MAX_BYTES = 65_536
_UTF8_MAX_BYTES = 4
_TOO_SLOW = ParseFailed("too_slow", "Reading this file takes longer than a file may take.")


def parse_apart(source: BinaryIO, *, kind: str, limits: Limits) -> Parsed:
    """Parse an open file in a child process. `source` needs a descriptor; it is read from its beginning.

    Raises: ParseFailed, ParserDied.
    """
    source.seek(0)
    process = _start(source.fileno(), kind, limits)
    is_over = Event()

    def end() -> None:
        is_over.set()
        _kill(process)

    timer = Timer(limits.seconds, end)
    timer.daemon = True
    timer.start()
    try:
        answer = _heard(process, most=limits.text_max_chars * _UTF8_MAX_BYTES + _HEADER_MAX_BYTES)
        code = process.wait()
    finally:
        timer.cancel()
        _kill(process)
        process.communicate()
    if is_over.is_set() or code == -signal.SIGXCPU:
        raise _TOO_SLOW
    if code != 0:
        raise ParserDied(f"exit code {code}")
    return _understood(answer)


def _heard(process: subprocess.Popen[bytes], *, most: int) -> bytes:
    """All that the child says. One that says more than it may is killed."""
    if process.stdout is None:
        return b""
    answer = process.stdout.read(most)
    if process.stdout.read(1):
        _kill(process)
    return answer


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With whatever it may have started: that would hold the pipe open, and us. Once waited for, its number is free."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _start(fd: int, kind: str, limits: Limits) -> subprocess.Popen[bytes]:
    request = json.dumps({"fd": fd, "kind": kind, "limits": asdict(limits)})
    return subprocess.Popen(
        [sys.executable, "-m", "files.parsing.child", request],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=[fd],
        cwd="/",
        env={"PYTHONPATH": str(_ROOT), "LC_ALL": "C.UTF-8", **_loading()},
        # A signal to the worker's group is for the worker, which lets its child end.
        start_new_session=True,
    )


def _loading() -> dict[str, str]:
    """What the interpreter itself may need to start. Nothing else of ours: it may hold keys."""
    return {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}


def _understood(answer: bytes) -> Parsed:
    header, _, text = answer.partition(b"\n")
    said = json.loads(header)
    if "code" in said:
        raise ParseFailed(said["code"], said["detail"])
    return Parsed(text.decode(), said["is_truncated"])
