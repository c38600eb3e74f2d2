"""What a web process does before its first request and after its last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError

from config.core.transactions import in_thread

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = structlog.get_logger(__name__)


class Lifespan:
    def __init__(self, app: App) -> None:
        self.app = app
        self._background: set[asyncio.Task[None]] = set()

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

        log.info("starting", graph=type(graph.GRAPH).__name__)
        cache.start_listener()
        # Not awaited: a database that is away must not keep the process from answering `/health`.
        task = asyncio.create_task(self._sweep(), name="sweep at start")
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _sweep(self) -> None:
        from sessions_app.turns.recovery import recover_lost_turns

        try:
            await in_thread(recover_lost_turns)
        except (DatabaseError, InterfaceError) as error:
            log.warning("sweep_at_start_failed", error=str(error))

    async def _stop(self) -> None:
        from pricing import cache
        from sessions_app.llm.gateway import aclose_clients
        from sessions_app.turns.registry import registry

        await registry().drain(settings.DRAIN_TIMEOUT_S)
        await aclose_clients()
        cache.stop_listener()
