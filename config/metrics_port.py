"""The worker's metrics on a port of its own, for a worker that shares no folder with a web process."""

from __future__ import annotations

import json
from collections.abc import Iterable
from http import HTTPStatus
from socketserver import ThreadingMixIn
from threading import Thread
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog

from config.metrics import scraped

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

log = structlog.get_logger(__name__)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    # A scraper that connects and says nothing gives its thread back.
    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        pass


def serve_metrics(port: int) -> WSGIServer | None:
    """In a daemon thread; nothing where the port is 0. A port that is taken is no reason to leave the queue alone."""
    if not port:
        return None
    try:
        server = make_server("", port, _application, server_class=_Server, handler_class=_Silent)
    except OSError as error:
        log.error("metrics_port_unusable", variable="WORKER_METRICS_PORT", port=port, error=str(error))
        return None
    Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def _application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] != "/metrics" or environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b""]
    scrape = scraped(environ)
    body = json.dumps(scrape.body).encode() if isinstance(scrape.body, dict) else scrape.body
    headers = [("Content-Type", scrape.content_type), ("Content-Length", str(len(body)))]
    if scrape.status == 401:
        headers.append(("WWW-Authenticate", "Bearer"))
    start_response(f"{scrape.status} {HTTPStatus(scrape.status).phrase}", headers)
    return [body]
