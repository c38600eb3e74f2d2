"""Progress lines, on stderr so that the output proper stays clean."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@contextmanager
def step(title: str) -> Iterator[None]:
    """`title ... done (0.8 s)`, the second half when the block has ended."""
    started = time.monotonic()
    sys.stderr.write(f"  {title} ... ")
    sys.stderr.flush()
    outcome = "failed"
    try:
        yield
        outcome = f"done ({time.monotonic() - started:.1f} s)"
    finally:
        say(outcome)
