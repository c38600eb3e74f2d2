"""`/v1`: OpenAI's API on our wallet. Its official clients work with the base URL and a key alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.http import HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.core.async_views import AsyncAPIView
from config.core.callers import caller_id
from config.core.errors import NotFound
from config.core.idempotency import claim_of
from config.core.openapi import problems
from config.core.transactions import in_thread
from pricing import cache
from pricing.catalog import callable_models
from sessions_app.completions import asked, rendering
from sessions_app.completions.asked import CompletionRequest
from sessions_app.completions.opening import OpenedCompletion, open_completion
from sessions_app.completions.outcome import Outcome, stored
from sessions_app.completions.recovery import recover
from sessions_app.completions.running import CompletionRun, completions
from sessions_app.limiting import completion_limits, limited
from sessions_app.models import Completion
from sessions_app.turn_views import EventStreamRenderer
from sessions_app.turns.heartbeats import HEARTBEAT, HEARTBEAT_S
from sessions_app.turns.registry import registry
from users.api_keys import key_id_of

_KEY = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="1 to 255 printable ASCII characters"
)
_REPLAYED = {"Idempotency-Replayed": "true"}
_UNKNOWN_CALLER = ("401 not_authenticated", "401 token_invalid")
_REFUSED = problems(
    "400 idempotency_key_malformed",
    "400 malformed_json",
    *_UNKNOWN_CALLER,
    "402 insufficient_credits",
    "402 spending_limit_reached",
    "409 idempotency_in_progress",
    "409 wallet_busy",
    "413 request_too_large",
    "422 validation_error",
    "422 context_budget_exceeded",
    "422 unknown_model_alias",
    "422 idempotency_key_reused",
    "429 rate_limited",
    "502 provider_error",
    "503 provider_unavailable",
    "503 database_unavailable",
    "504 provider_timeout",
)


@dataclass(frozen=True, slots=True)
class _Replay:
    """What a key stands for, asked for again."""

    request: CompletionRequest
    row: Completion


class _OpenAIErrors:
    """A problem document with OpenAI's `error` beside it: their clients read the one, ours the other."""

    def handle_exception(self, exc: Exception) -> Response:
        response: Response = super().handle_exception(exc)  # type: ignore[misc]
        problem = response.data
        if isinstance(problem, dict) and "code" in problem:
            error = rendering.error_of(
                status=response.status_code, code=problem["code"], message=problem.get("detail", "")
            )
            response.data = {**problem, "error": error}
        return response


class ChatCompletionsView(_OpenAIErrors, AsyncAPIView):
    renderer_classes = [*AsyncAPIView.renderer_classes, EventStreamRenderer]

    @extend_schema(
        operation_id="chat_completions",
        request=asked.CompletionIn,
        parameters=[_KEY],
        responses={
            (200, "application/json"): OpenApiTypes.OBJECT,
            (200, "text/event-stream"): OpenApiTypes.STR,
            **_REFUSED,
        },
    )
    async def post(self, request: Request) -> HttpResponseBase:
        """OpenAI's chat completion. `tallyroom` in the answer says what it cost.

        Hanging up ends the call, and what came until then is billed; with an Idempotency-Key it goes on.
        """
        started = await self._start(request)
        if isinstance(started, CompletionRun):
            streams = started.opened.request.streams
            return await _stream(started) if streams else _json(rendering.body(await _waited_for(started)))
        outcome = await in_thread(partial(stored, started.row))
        rendering.refuse_empty(outcome)
        if started.request.streams:
            return _streamed(_again(outcome, includes_usage=started.request.includes_usage), _REPLAYED)
        return _json(rendering.body(outcome), _REPLAYED)

    async def _start(self, request: Request) -> CompletionRun | _Replay:
        """Authenticate, parse and open in one hop. A client that hangs up meanwhile leaves no call without a runner."""

        def unit() -> OpenedCompletion | _Replay:
            wanted = asked.read(
                request.data, user_id=caller_id(request), claim=claim_of(request), api_key_id=key_id_of(request)
            )
            opened = limited(
                partial(open_completion, wanted),
                claim=wanted.claim,
                limits=completion_limits(wanted.user_id),
                is_new=lambda found: isinstance(found, OpenedCompletion),
            )
            if isinstance(opened, OpenedCompletion):
                return opened
            # A retry is how a client learns what became of a call whose process died.
            if opened.status == Completion.Status.RUNNING and recover(opened.id):
                opened = Completion.objects.get(id=opened.id)
            return _Replay(wanted, opened)

        async def starting() -> CompletionRun | _Replay:
            completions().admit()
            opened: OpenedCompletion | _Replay = await self.admitted(request, unit)
            if isinstance(opened, _Replay):
                return opened
            return completions().start(opened)

        begun = registry().keep(starting())
        try:
            return await asyncio.shield(begun)
        except asyncio.CancelledError:
            begun.add_done_callback(_leave)
            raise


def _json(body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    """Called so whatever a client accepts: some ask for an event stream and then for none."""
    return Response(body, headers=headers, content_type="application/json")


def _leave(begun: asyncio.Task[CompletionRun | _Replay]) -> None:
    """For a client that went away before it was told what it had begun, be that done already or still to come."""
    if not begun.cancelled() and begun.exception() is None and isinstance(run := begun.result(), CompletionRun):
        run.leave()


async def _waited_for(run: CompletionRun) -> Outcome:
    try:
        return await run.outcome()
    except asyncio.CancelledError:
        run.leave()
        raise


async def _stream(run: CompletionRun) -> HttpResponseBase:
    """Nothing is sent before the first text, so that a provider's refusal has its own status, but for long silences."""
    texts = run.text()
    first = asyncio.ensure_future(anext(texts, None))
    try:
        await asyncio.wait({first}, timeout=HEARTBEAT_S)
    except asyncio.CancelledError:
        first.cancel()
        run.leave()
        raise
    if first.done() and first.result() is None:
        outcome = await _waited_for(run)
        rendering.refuse_empty(outcome)
    return _streamed(_live(run, first, texts), {})


async def _live(
    run: CompletionRun, waiting: asyncio.Future[str | None], texts: AsyncIterator[str]
) -> AsyncIterator[bytes]:
    asked_for = run.opened.request
    chunks = rendering.Chunks(
        id_=run.opened.id,
        created_at=run.created_at,
        model_alias=run.opened.price.model_alias,
        includes_usage=asked_for.includes_usage,
    )
    has_ended = False
    try:
        yield chunks.opening()
        while True:
            done, _ = await asyncio.wait({waiting}, timeout=HEARTBEAT_S)
            if not done:
                yield HEARTBEAT
                continue
            text = waiting.result()
            if text is None:
                break
            yield chunks.text(text)
            waiting = asyncio.ensure_future(anext(texts, None))
        ending = chunks.ending(await run.outcome())
        has_ended = True
        yield ending
    finally:
        waiting.cancel()
        if not has_ended:
            run.leave()


async def _again(outcome: Outcome, *, includes_usage: bool) -> AsyncIterator[bytes]:
    chunks = rendering.Chunks(
        id_=outcome.id,
        created_at=outcome.created_at,
        model_alias=outcome.model_alias,
        includes_usage=includes_usage,
    )
    text = chunks.text(outcome.answer.text) if outcome.answer.text else b""
    yield chunks.opening() + text + chunks.ending(outcome)


def _streamed(events: AsyncIterator[bytes], headers: dict[str, str]) -> StreamingHttpResponse:
    held = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no", **headers}
    return StreamingHttpResponse(events, content_type="text/event-stream", headers=held)


class OpenAIModelsView(_OpenAIErrors, APIView):
    @extend_schema(operation_id="openai_models", responses={200: OpenApiTypes.OBJECT, **problems(*_UNKNOWN_CALLER)})
    def get(self, request: Request) -> Response:
        """The aliases that you can call, in OpenAI's form. `GET /api/v1/models` says what they cost."""
        book = cache.latest()
        return Response(rendering.models(book, [one.model_alias for one in callable_models(book)]))


class OpenAIModelView(_OpenAIErrors, APIView):
    @extend_schema(
        operation_id="openai_model",
        responses={200: OpenApiTypes.OBJECT, **problems(*_UNKNOWN_CALLER, "404 not_found")},
    )
    def get(self, request: Request, model: str) -> Response:
        """One of them."""
        book: Any = cache.latest()
        if model not in {one.model_alias for one in callable_models(book)}:
            raise NotFound
        return Response(rendering.model(book, model))
