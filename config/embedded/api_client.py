"""The HTTP API, used as any client would: the demo sees nothing that a user does not see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import httpx

from config.embedded.errors import EmbeddedError
from config.embedded.event_stream import Event, read_events

# Longer than the silence after which a stream sends a comment line.
READ_TIMEOUT_S = 60.0


class ApiClient:
    """One signed-in user."""

    def __init__(self, base_url: str, token: str = "") -> None:
        self._http = httpx.Client(
            base_url=f"{base_url}/api/v1",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=READ_TIMEOUT_S,
            # Not through a proxy that the environment may name: the server runs on this machine.
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **params: str | int) -> Any:
        return self._call("GET", path, params=params or None)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._call("POST", path, json=body or {})

    def put(self, path: str, body: dict[str, Any]) -> Any:
        return self._call("PUT", path, json=body)

    def pages(self, path: str, **params: str | int) -> Iterator[dict[str, Any]]:
        """Every row of a list, page after page."""
        page = self.get(path, page_size=200, **params)
        while True:
            yield from page["results"]
            if not page["next"]:
                return
            page = self.get(page["next"])

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[Event]:
        request = self._http.stream("POST", path, json=body, headers={"Accept": "text/event-stream"})
        with no_answer_is_an_error(), request as answer:
            if answer.is_error:
                answer.read()
                raise refusal(answer)
            yield from read_events(answer.iter_bytes())

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        with no_answer_is_an_error():
            answer = self._http.request(method, path, **arguments)
        if answer.is_error:
            raise refusal(answer)
        return answer.json()


def sign_in(base_url: str, email: str, password: str) -> str:
    """A fresh token."""
    with ApiClient(base_url) as client:
        return str(client.post("/auth/token", {"email": email, "password": password})["token"])


@contextmanager
def no_answer_is_an_error() -> Iterator[None]:
    try:
        yield
    except httpx.TransportError as error:
        raise EmbeddedError(f"the web process did not answer ({error!r}): see web.log") from None


def refusal(answer: httpx.Response) -> EmbeddedError:
    """The problem that the API names, in one line."""
    request = f"{answer.request.method} {answer.request.url.path}"
    try:
        problem = answer.json()
        reason = f"{problem['code']}: {problem['detail']} {problem.get('errors', '')}".strip()
    except (ValueError, KeyError, TypeError):
        reason = answer.text[:200]
    return EmbeddedError(f"{request} answered {answer.status_code}: {reason}")
