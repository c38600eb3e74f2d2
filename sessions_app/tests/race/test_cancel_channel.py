"""The cancel channel over a connection that has died without a word."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

from config.core.ids import uuid7
from sessions_app.turns import cancel_channel


class SilencingProxy:
    """Lets everything pass, until the connections that are open then are silenced: neither answered nor closed."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._silent_through = 0
        self._connections = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def silence(self) -> None:
        self._silent_through = self._connections

    async def serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        server, requests = await asyncio.open_connection(*self._target)
        for source, sink in ((client, requests), (server, answers)):
            self._tasks.add(asyncio.create_task(self._pass_on(number, source, sink)))

    async def _pass_on(self, number: int, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(4096):
                if number > self._silent_through:
                    sink.write(data)
        if number > self._silent_through:
            sink.close()


def test_a_connection_that_died_without_a_word_is_replaced(settings, monkeypatch):
    monkeypatch.setattr(cancel_channel, "_SILENCE_S", 0.2)
    redis = urlsplit(settings.REDIS_URL)
    heard = []

    async def says(turn_id, *, within_s):
        async with asyncio.timeout(within_s):
            while turn_id not in heard:
                await cancel_channel.say_cancel(turn_id)
                await asyncio.sleep(0.05)

    async def scenario():
        proxy = SilencingProxy(redis.hostname or "", redis.port or 6379)
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        login = redis.netloc.rpartition("@")
        netloc = f"{login[0]}{login[1]}127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings.REDIS_URL = urlunsplit(redis._replace(netloc=netloc))
        hearing = asyncio.create_task(cancel_channel.hear_cancels(heard.append))
        await says(uuid7(), within_s=5)
        # Silence alone is no reason to leave.
        await asyncio.sleep(1)
        connections = proxy._connections
        await says(uuid7(), within_s=5)
        assert proxy._connections - connections <= 2
        proxy.silence()
        await says(uuid7(), within_s=5)
        hearing.cancel()
        await asyncio.wait({hearing})
        server.close()

    asyncio.run(scenario())
