"""The HTTP API of a server that runs somewhere, used as any client would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx

from sessions_app.chat.events import Event, read_events
from sessions_app.chat.problems import ChatError, NothingLeft, Problem, Unreachable, problem_of

# Longer than the silence after which a stream sends a comment line (15 s).
READ_TIMEOUT_S = 45.0
CONNECT_TIMEOUT_S = 10.0
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Api:
    """One signed-in person. Several threads may use it at once."""

    def __init__(self, url: str) -> None:
        base = urlsplit(url)
        if base.scheme not in {"http", "https"} or not base.hostname:
            raise ChatError(f"{url} is not the address of a server: expected http://HOST[:PORT].")
        self.url = url.rstrip("/").removesuffix("/api/v1")
        self.token = ""
        # Asks for a fresh token where the one we have is refused; None where nobody can be asked.
        self.sign_in_again: Callable[[], None] | None = None
        self._http = httpx.Client(
            base_url=f"{self.url}/api/v1",
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            # A proxy that the environment names is not the way to this machine itself.
            trust_env=base.hostname not in _LOOPBACK,
        )

    def close(self) -> None:
        self._http.close()

    def token_for(self, email: str, password: str) -> str:
        body = {"email": email, "password": password}
        return str(self._answered("POST", "/auth/token", json=body)["token"])

    def get(self, path: str, **params: str | int) -> Any:
        return self._call("GET", path, params=params or None)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._call("POST", path, json=body or {})

    def cancel(self, turn_id: str) -> None:
        """Asks nobody for a fresh token: it is called aside, while a turn is shown."""
        self._answered("POST", f"/turns/{turn_id}/cancel", json={})

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        return self._call("PATCH", path, json=body)

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        """Every row of a list, page after page."""
        page = self.get(path, page_size=200)
        while True:
            yield from page["results"]
            if not page["next"]:
                return
            # Only the query of the address: a server behind a proxy may not know how it is reached.
            page = self.get(path, **dict(httpx.URL(page["next"]).params))

    def download(self, path: str, **params: str) -> Iterator[bytes]:
        with self._opened("GET", path, params=params) as answer:
            yield from answer.iter_bytes()

    def events(self, method: str, path: str, **arguments: Any) -> Iterator[Event]:
        """The events of one connection, until it ends.

        Raises: Problem, also 401 (nobody can be asked in the thread that reads); NothingLeft; Unreachable.
        """
        with self._opened(method, path, **arguments) as answer:
            if answer.status_code == 204:
                raise NothingLeft("The turn has ended.")
            yield from read_events(answer.iter_bytes())

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            return self._answered(method, path, **arguments)
        except Problem as problem:
            if problem.status != 401 or self.sign_in_again is None:
                raise
            self.sign_in_again()
        return self._answered(method, path, **arguments)

    def _answered(self, method: str, path: str, **arguments: Any) -> Any:
        with self._opened(method, path, **arguments) as answer:
            answer.read()
            if not answer.content:
                return None
            try:
                return answer.json()
            except ValueError:
                raise ChatError(f"{self.url} does not answer as Tallyroom does.") from None

    @contextmanager
    def _opened(self, method: str, path: str, **arguments: Any) -> Iterator[httpx.Response]:
        headers = {**({"Authorization": f"Bearer {self.token}"} if self.token else {}), **arguments.pop("headers", {})}
        try:
            with self._http.stream(method, path, headers=headers, **arguments) as answer:
                if not answer.is_success:
                    answer.read()
                    raise problem_of(answer)
                yield answer
        except (httpx.RequestError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise Unreachable(f"{self.url} does not answer ({reason}).") from None
