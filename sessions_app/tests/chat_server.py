"""A little server that plays Tallyroom for the terminal client, and cuts its streams wherever a test wants it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

TURN_ID = "01900000-0000-7000-8000-000000000001"


def encoded(events: list[tuple[str, dict[str, Any]]]) -> list[bytes]:
    """The events of a turn as the server writes them."""
    numbered = [(seq, name, {"turn_id": TURN_ID, "seq": seq, **data}) for seq, (name, data) in enumerate(events, 1)]
    return [
        f"id: {seq}\nevent: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode("utf-8", "replace")
        for seq, name, data in numbered
    ]


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class ChatServer:
    """Streams `events`. `cut(n)`: after how many bytes the nth stream (from 0) is cut, None for never.

    `answers`: by "METHOD path", what is answered instead: a list of (status, body), of which the last one stays.
    `well_formed`: whether a cut looks like an ordinary end of the body.
    """

    events: list[bytes] = field(default_factory=list)
    cut: Callable[[int], int | None] = lambda _number: None
    well_formed: bool = False
    pause: threading.Event | None = None
    answers: dict[str, list[tuple[int, Any]]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    streams: int = 0

    def __enter__(self) -> ChatServer:
        server = self

        class Handler(_Handler):
            chat = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def paths(self) -> list[str]:
        return [f"{asked.method} {asked.path}" for asked in self.asked]


class _Handler(BaseHTTPRequestHandler):
    chat: ChatServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PATCH = do_GET  # noqa: N815 - what the standard library asks for

    def log_message(self, *_arguments: object) -> None:
        """Silent."""

    def _answer(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.removeprefix("/api/v1").partition("?")[0]
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.chat.asked.append(Asked(self.command, path, headers, json.loads(raw) if raw else None))
        planned = self.chat.answers.get(f"{self.command} {path}")
        if planned:
            status, body = planned.pop(0) if len(planned) > 1 else planned[0]
            if status is not None:
                return self._whole(status, body)
        if path.endswith("/stream"):
            return self._stream(0)
        if path.endswith("/events"):
            return self._stream(int(headers.get("last-event-id", "0")))
        return self._whole(404, {"code": "not_found", "detail": "There is no such resource."})

    def _whole(self, status: int, body: Any) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, after: int) -> None:
        number, self.chat.streams = self.chat.streams, self.chat.streams + 1
        data = b"".join(self.chat.events[after:])
        cut = self.chat.cut(number)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        if not self.chat.well_formed:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        sent = data if cut is None else data[:cut]
        # In two pieces, so that a reader sees characters torn apart as well.
        for piece in (sent[: len(sent) // 2], sent[len(sent) // 2 :]):
            self._write(piece)
        if self.chat.pause is not None:
            self.chat.pause.wait(10)
        if cut is None:
            self._write(b"")

    def _write(self, piece: bytes) -> None:
        if self.chat.well_formed:
            self.wfile.write(piece)
        elif piece or self.chat.cut(self.chat.streams - 1) is None:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.flush()
