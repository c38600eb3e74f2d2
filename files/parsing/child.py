"""The process in which one file is parsed: `python -m files.parsing.child REQUEST`, REQUEST as `process` writes it.

The file is an open descriptor. Standard input stays open as long as the parent lives; the answer goes to standard
output, a line of JSON and then the text in UTF-8.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import resource
import sys
import threading
from typing import Any

from files.parsing.outcome import Limits, Parsed, ParseFailed, TextFull, TextOut

# Each has `parse(source, out)`, and is imported when it is needed: that takes longer than to parse most files.
_PARSERS = {
    "txt": "plain", "md": "plain", "csv": "table", "json": "json_text", "html": "html_text", "pdf": "pdf",
    "docx": "docx", "xlsx": "xlsx",
}  # fmt: skip
_OPEN_FILES_MAX = 64
TOO_MUCH_MEMORY = ParseFailed("too_much_memory", "Reading this file takes more memory than a file may have.")


def main(request: dict[str, Any]) -> None:
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    logging.disable()
    limits = Limits(**request["limits"])
    _restrict(limits)
    try:
        parsed = _parsed(request["fd"], request["kind"], limits)
        header, text = dict[str, Any](is_truncated=parsed.is_truncated), parsed.text.encode()
    except ParseFailed as failure:
        header, text = {"code": failure.code, "detail": failure.detail}, b""
    except MemoryError:
        header, text = {"code": TOO_MUCH_MEMORY.code, "detail": TOO_MUCH_MEMORY.detail}, b""
    _answer(header, text)


def _parsed(fd: int, kind: str, limits: Limits) -> Parsed:
    """Raises: ParseFailed, for whatever a file may make its parser do."""
    out = TextOut(limits.text_max_chars)
    is_truncated = False
    try:
        parser = importlib.import_module(f"files.parsing.{_PARSERS[kind]}")
        with os.fdopen(fd, "rb") as source:
            parser.parse(source, out)
    except TextFull:
        is_truncated = True
    except ParseFailed:
        raise
    except MemoryError:
        raise TOO_MUCH_MEMORY from None
    except RecursionError:
        raise ParseFailed("malformed", "This file is nested too deeply to be read.") from None
    except Exception:  # noqa: BLE001 - parsers of hostile files raise anything; here that is an answer
        raise ParseFailed("malformed", f"This {kind} file is damaged and cannot be read.") from None
    text = out.text()
    if not text.strip():
        raise ParseFailed("no_text", "There is no text in this file. Pictures and scans are not read.")
    return Parsed(text, is_truncated)


def _restrict(limits: Limits) -> None:
    """What the parent's clock cannot see, and what must hold when the parent is gone."""
    seconds = int(limits.seconds) + 1
    _, most_seconds = resource.getrlimit(resource.RLIMIT_CPU)
    # Below the hard limit, at which the kernel kills without a word, so that the parent can tell why.
    above = seconds + 1 if most_seconds == resource.RLIM_INFINITY else min(seconds + 1, most_seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (min(seconds, above), above))
    for kind, limit in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_NOFILE, _OPEN_FILES_MAX),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        within = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (within, within))
    os.nice(5)


def _end_with_the_parent() -> None:
    """A worker that is killed cannot tell its child; the end of the pipe does."""
    while os.read(0, 1):
        pass
    os._exit(1)


def _answer(header: dict[str, Any], text: bytes) -> None:
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n")
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
    # At once, whatever a parser has left running.
    os._exit(0)
