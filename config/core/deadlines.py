"""An end to a conversation over a socket, however slowly the other side speaks."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer


@contextmanager
def cut_after(seconds: float, sock: socket.socket) -> Iterator[None]:
    """End the connection under its user once the time is up, who then sees the end of the stream.

    The timeout of a socket is for one read; a server that sends a byte a second would keep us for ever. A duplicate of
    the socket is what is cut, so that wrapping the first in TLS, or closing it, changes nothing.
    """
    # Not `sock.dup()`, which a socket in TLS refuses.
    double = socket.socket(fileno=os.dup(sock.fileno()))
    timer = Timer(seconds, _cut, [double])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        # The timer may be about to cut: without this join it could cut whoever gets the number of a closed socket.
        timer.join()
        double.close()


def _cut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        # Closed by the other side in the same moment.
        return
