"""A proxy that breaks event streams off in the middle, again and again, and lets everything else pass."""

from __future__ import annotations

import re
import socket
import threading
from types import TracebackType

_STREAMED = re.compile(rb"(POST|GET) \S+(/stream|/events) ")


class CuttingProxy:
    """`cut_bytes`: how much of each streamed answer comes through, its head included."""

    def __init__(self, port: int, *, cut_bytes: int) -> None:
        self.cuts = 0
        self._port = port
        self._cut_bytes = cut_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> CuttingProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._port))
        # What may still come through; None while the answers are no streams.
        budget: list[int | None] = [None]
        threading.Thread(target=self._answers, args=(server, client, budget), daemon=True).start()
        with client, server:
            while data := _received(client):
                if _STREAMED.match(data):
                    budget[0] = self._cut_bytes
                server.sendall(data)

    def _answers(self, server: socket.socket, client: socket.socket, budget: list[int | None]) -> None:
        while data := _received(server):
            left = budget[0]
            if left is not None:
                data, budget[0] = data[:left], left - len(data)
            try:
                client.sendall(data)
            except OSError:
                return
            if budget[0] is not None and budget[0] <= 0:
                self.cuts += 1
                break
        _shut(client)
        _shut(server)


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65_536)
    except OSError:
        return b""


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
