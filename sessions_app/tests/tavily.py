"""A search server that looks like Tavily, on a real socket, which remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PAGES = [
    {"title": "Rome", "url": "https://example.com/rome", "content": "Rome was not built in a day.", "score": 0.9},
    {"title": "Paris", "url": "https://example.com/paris", "content": "Paris is always a good idea.", "score": 0.5},
]


@dataclass(frozen=True)
class Asked:
    path: str
    headers: dict[str, str]
    body: Any


class Tavily:
    """Answers every question with the same pages, or does what `behave` says."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.behave: Callable[[BaseHTTPRequestHandler], None] | None = None
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> Tavily:
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def hang(self, _: BaseHTTPRequestHandler) -> None:
        self.released.wait(60)

    def answer(
        self, handler: BaseHTTPRequestHandler, status: int = 200, body: bytes | None = None, **headers: str
    ) -> None:
        body = json.dumps({"query": "", "results": PAGES}).encode() if body is None else body
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    def _handler(tavily) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the handler within
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                tavily.asked.append(Asked(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                try:
                    (tavily.behave or tavily.answer)(self)
                except OSError:
                    self.close_connection = True

            do_GET = do_POST  # noqa: N815 - the base class names it so

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
