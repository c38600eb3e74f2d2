"""`search`: the web, through Tavily (https://docs.tavily.com/documentation/api-reference/endpoint/search)."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, ClassVar

import httpx
from django.conf import settings
from pydantic import Field

from sessions_app.llm.clients import client
from sessions_app.llm.text import clean
from sessions_app.tools.base import Arguments, Scope, Tool, ToolFailed
from sessions_app.tools.cutting import beginning
from sessions_app.tools.limits import QUERY_CHARS

TIMEOUT_S = 15.0
RESULTS = 5
BODY_MAX_BYTES = 1_048_576
_TITLE_CHARS, _URL_CHARS = 200, 500


class SearchArguments(Arguments):
    query: str = Field(min_length=1, max_length=QUERY_CHARS, description="What to look for, in a few words.")


class Search(Tool):
    name: ClassVar[str] = "search"
    description: ClassVar[str] = "Search the web. Gives titles, addresses and excerpts of the best pages."
    arguments: ClassVar[type[Arguments]] = SearchArguments

    def is_configured(self) -> bool:
        return bool(settings.TAVILY_API_KEY)

    async def run(self, arguments: SearchArguments, scope: Scope) -> str:
        query = " ".join(clean(arguments.query).split())
        if not query:
            raise ToolFailed("The query is empty.", code="invalid_arguments")
        try:
            async with asyncio.timeout(TIMEOUT_S):
                found = _results(await _asked(query))
        except TimeoutError:
            raise ToolFailed("The search did not answer in time.", code="timeout") from None
        return _written(found, scope.room_bytes) if found else "Nothing was found."


async def _asked(query: str) -> Any:
    """One request to the one host that is configured; no redirect is followed, and the key is in the header alone."""
    request = client().build_request(
        "POST",
        f"{settings.TAVILY_BASE_URL}/search",
        json={"query": query, "max_results": RESULTS, "search_depth": "basic"},
        headers={"Authorization": f"Bearer {settings.TAVILY_API_KEY}", "Accept-Encoding": "identity"},
        timeout=httpx.Timeout(TIMEOUT_S),
    )
    try:
        response = await client().send(request, stream=True, follow_redirects=False)
        try:
            if response.status_code != HTTPStatus.OK:
                raise ToolFailed(f"The search failed ({response.status_code}).", code="unavailable")
            return json.loads(await _body(response))
        finally:
            await response.aclose()
    except (httpx.TransportError, OSError):
        raise ToolFailed("The search cannot be reached.", code="unavailable") from None
    except (ValueError, RecursionError):
        raise ToolFailed("The search gave no readable answer.", code="unavailable") from None


async def _body(response: httpx.Response) -> bytes:
    body = bytearray()
    async with aclosing(response.aiter_raw()) as pieces:  # type: ignore[type-var]
        async for piece in pieces:
            body += piece
            if len(body) > BODY_MAX_BYTES:
                raise ToolFailed("The search gave too long an answer.", code="unavailable")
    return bytes(body)


def _results(answer: Any) -> list[tuple[str, str, str]]:
    """Title, address and excerpt of each page. What has another shape than expected is left out."""
    rows = answer.get("results") if isinstance(answer, dict) else None
    found = []
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict) and isinstance(row.get("url"), str):
            title, text = (row.get(name) if isinstance(row.get(name), str) else "" for name in ("title", "content"))
            found.append((_line(title or "", _TITLE_CHARS), _line(row["url"], _URL_CHARS), clean(text or "").strip()))
    return found[:RESULTS]


def _written(found: list[tuple[str, str, str]], room_bytes: int) -> str:
    share = room_bytes // len(found)
    return "\n\n".join(beginning(f"{title}\n{url}\n{text}", share - 2) for title, url, text in found)


def _line(text: str, most_chars: int) -> str:
    return " ".join(clean(text).split())[:most_chars]
