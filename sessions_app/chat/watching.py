"""Showing a stream while listening to the keyboard: the first Ctrl-C asks to cancel, the second one leaves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
POLL_S = 0.1
CANCELLING = "Asking to cancel; Ctrl-C once more leaves."


class Left(Exception):
    """The person wants to leave; the turn goes on."""


class _End:
    """Nothing follows; `error` is what the source raised."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error


def watch(
    source: Iterable[T], show: Callable[[T], None], *, cancel: Callable[[], str], say: Callable[[str], None]
) -> None:
    """Show every item as it comes. `cancel` may wait for the server, so it runs aside; `say` tells what it answers.

    The source is read in a thread: a signal then never tears a read, or a line that is half written, in two.
    Raises: what the source raises; Left.
    """
    news: SimpleQueue[T | _End | str] = SimpleQueue()
    _aside(lambda: _read(source, news))
    handled = 0
    with _counted_interrupts() as presses:
        while True:
            if len(presses) > handled:
                handled += 1
                if handled > 1:
                    raise Left
                say(CANCELLING)
                _aside(lambda: news.put(_Said(cancel())))
            try:
                item = news.get(timeout=POLL_S)
            except Empty:
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            if isinstance(item, _Said):
                say(item)
            else:
                show(item)  # type: ignore[arg-type]


class _Said(str):
    """What is told beside the items."""

    __slots__ = ()


def _read(source: Iterable[T], news: SimpleQueue[T | _End | str]) -> None:
    try:
        for item in source:
            news.put(item)
    except Exception as error:  # noqa: BLE001 - raised again where it is waited for
        news.put(_End(error))
    else:
        news.put(_End())


def _aside(work: Callable[[], None]) -> None:
    """A daemon: who leaves does not wait for it."""
    threading.Thread(target=work, daemon=True).start()


@contextmanager
def _counted_interrupts() -> Iterator[list[int]]:
    """While it is open Ctrl-C is counted instead of raised."""
    presses: list[int] = []

    def count(signum: int, _frame: FrameType | None) -> None:
        presses.append(signum)

    previous = signal.signal(signal.SIGINT, count)
    try:
        yield presses
    finally:
        signal.signal(signal.SIGINT, previous)
