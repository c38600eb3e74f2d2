"""A file with the last entry of every wallet as of a time: what names the wallets when an anchor does not match.

    # Tallyroom ledger heads as of 2026-11-24T00:00:00Z sha256 <anchor hash>
    wallet_id:seq:entry_hash
    …

The lines after the first are what is hashed: `tail -n +2 FILE | sha256sum` prints the anchor.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from billing.anchors import State, WalletHead, state_at, utc_text

_FIRST = re.compile(r"# Tallyroom ledger heads as of (\S+) sha256 ([0-9a-f]{64})\n?")
_LINE = re.compile(r"([0-9a-f-]{36}):([0-9]+):([0-9a-f]{64})\n?")


class NoHeadsFile(Exception):
    """Not a file of heads, or not as it was written."""


class HeadsFile(NamedTuple):
    path: Path
    as_of: datetime
    anchor_hash: str

    def heads(self) -> Iterator[WalletHead]:
        with self.path.open(encoding="ascii") as lines:
            next(lines)
            for line in lines:
                yield _head(line)


def write_heads(path: Path, as_of: datetime) -> State:
    """Write the heads as the entries have them now. Streaming; the file appears whole or not at all."""
    lines, whole = path.with_name(path.name + ".lines"), path.with_name(path.name + ".part")
    try:
        with lines.open("w", encoding="ascii") as file:
            state = state_at(as_of, write=file.write)
        with whole.open("w", encoding="ascii") as file, lines.open(encoding="ascii") as written:
            file.write(f"# Tallyroom ledger heads as of {utc_text(as_of)} sha256 {state.anchor_hash}\n")
            file.writelines(written)
        whole.replace(path)
    finally:
        lines.unlink(missing_ok=True)
        whole.unlink(missing_ok=True)
    return state


def open_heads(path: Path) -> HeadsFile:
    """Read a file once through, before anything is held against it.

    Raises: NoHeadsFile where a line is none, or the lines are not the ones that were hashed.
    """
    try:
        with path.open(encoding="ascii") as lines:
            first = _FIRST.fullmatch(next(lines, ""))
            if first is None:
                raise NoHeadsFile(f"{path}: the first line does not say which heads these are")
            digest = hashlib.sha256()
            for line in lines:
                digest.update(_head(line).line().encode())
            as_of = datetime.fromisoformat(first[1])
    except (OSError, ValueError) as error:
        raise NoHeadsFile(f"{path}: {error}") from None
    if as_of.tzinfo is None or digest.hexdigest() != first[2]:
        raise NoHeadsFile(f"{path}: its lines do not come to the hash in its first line")
    return HeadsFile(path, as_of, first[2])


def _head(line: str) -> WalletHead:
    found = _LINE.fullmatch(line)
    if found is None:
        raise NoHeadsFile(f"{line[:80]!r} is no line of a file of heads")
    return WalletHead(*found.groups())
