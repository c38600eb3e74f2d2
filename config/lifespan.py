"""What a web process does before its first request and after its last."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from types import FrameType
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError

from config.core import tracing
from config.core.open_files import raise_open_files_limit
from config.core.transactions import in_thread

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = structlog.get_logger(__name__)
# How long the end of the last turns' events may take to reach Redis.
_MIRROR_DRAIN_S = 1.0


class Lifespan:
    def __init__(self, app: App) -> None:
        self.app = app
        self._background: set[asyncio.Task[None]] = set()
        self._draining: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self._stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _start(self) -> None:
        # Imports LangGraph and compiles the graph: three seconds that the first turn should not pay.
        from pricing import cache
        from sessions_app.orchestration import graph

        raise_open_files_limit()
        tracing.start("web", version=settings.VERSION)
        log.info("starting", graph=type(graph.GRAPH).__name__)
        cache.start_listener()
        self._drain_on(signal.SIGTERM)
        self._drain_on(signal.SIGINT)
        # Not awaited: a database that is away must not keep the process from answering `/health`.
        task = asyncio.create_task(self._sweep(), name="sweep at start")
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _drain_on(self, number: signal.Signals) -> None:
        """Begin to drain when the signal comes. The server's own handling follows, but it calls us only once all
        responses have ended, and those of turns end with their turns."""
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        servers_own = signal.getsignal(number)

        def handler(received: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self._drain)
            if callable(servers_own):
                servers_own(received, frame)

        signal.signal(number, handler)

    def _drain(self) -> asyncio.Task[None]:
        if self._draining is None:
            self._draining = asyncio.create_task(_drain_all(settings.DRAIN_TIMEOUT_S), name="drain")
        return self._draining

    async def _sweep(self) -> None:
        from sessions_app.completions.recovery import recover_lost_completions
        from sessions_app.turns.recovery import recover_lost_turns

        try:
            await in_thread(recover_lost_turns)
            await in_thread(recover_lost_completions)
        except (DatabaseError, InterfaceError) as error:
            log.warning("sweep_at_start_failed", error=str(error))

    async def _stop(self) -> None:
        from pricing import cache
        from sessions_app.llm.gateway import aclose_clients
        from sessions_app.turns.mirror import mirror
        from sessions_app.turns.registry import registry

        await self._drain()
        await registry().aclose()
        # What the last turns said, for those who watch them at another process.
        await mirror().drain(_MIRROR_DRAIN_S)
        await aclose_clients()
        cache.stop_listener()
        # In a thread, because a collector that is away is waited for a moment.
        await asyncio.to_thread(tracing.stop)


async def _drain_all(timeout_s: float) -> None:
    from sessions_app.completions.running import completions
    from sessions_app.turns.registry import registry
    from sessions_app.turns.replicas import replicas

    until = time.monotonic() + timeout_s
    await asyncio.gather(registry().drain(timeout_s), completions().drain(timeout_s))
    # Those that were just being opened: the registry has waited for that, and they have begun meanwhile.
    await completions().drain(max(0.0, until - time.monotonic()))
    replicas().leave()
