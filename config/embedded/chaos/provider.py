"""The scripted provider with a journal that the oracle trusts: who called, what was sent, with which usage, when."""

from __future__ import annotations

import json
import time
import zlib
from collections import Counter
from typing import Any, Self

from config.embedded.chaos.evidence import ProviderCall
from sessions_app.tests.scripted_provider import Exchange, Reply, ScriptedProvider

WORDS = ("Every", " answer", " here", " takes", " its", " time", " on", " purpose", ".")
# One in four answers comes at once, so that kills also hit openings, journals and settlements.
QUICK_OF_FOUR = 1


class ChaosProvider(ScriptedProvider):
    """Each life of a process calls it under a path of its own, so the journal says which life heard an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[ProviderCall] = []
        self.is_slow = True
        self._open: dict[int, ProviderCall] = {}

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def address_for(self, process: str) -> str:
        self.scripts[process] = self.reply_to
        return self.url_of(process)

    def reply_to(self, body: dict[str, Any]) -> Reply:
        digest = _digest(body)
        is_quick = not self.is_slow or digest % 4 < QUICK_OF_FOUR
        delay_s = 0.01 if is_quick else 0.25 + (digest >> 4) % 500 / 1000
        input_tokens, output_tokens = usage_of(body)
        usage = {"prompt_tokens": input_tokens, "completion_tokens": output_tokens}
        return Reply(chunks=WORDS, usage=usage, delay_s=delay_s)

    def open_calls(self) -> Counter[str]:
        """How many turns are inside a provider call at this moment, by process."""
        calls = {call.turn_id: call.process for call in list(self._open.values())}
        return Counter(calls.values())

    async def _answer(self, connection: Any, exchange: Exchange) -> bool:
        if not exchange.path.endswith("/chat/completions"):
            return await super()._answer(connection, exchange)
        call = _call_of(exchange)
        self.calls.append(call)
        self._open[id(call)] = call
        try:
            return await super()._answer(connection, exchange)
        finally:
            call.ended_at = time.time()
            call.is_complete = exchange.is_complete
            call.sent_text = exchange.sent_text
            del self._open[id(call)]


def usage_of(body: dict[str, Any]) -> tuple[int, int]:
    """Counts that follow from the request, and differ from one request to the next: a bill shows whose call it is."""
    digest = _digest(body)
    return 100 + digest % 1_900, 20 + (digest >> 12) % 480


def _digest(body: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(body, sort_keys=True).encode())


def _call_of(exchange: Exchange) -> ProviderCall:
    input_tokens, output_tokens = usage_of(exchange.body)
    return ProviderCall(
        request_id=exchange.headers.get("x-request-id", ""),
        process=exchange.path.split("/")[1],
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        body_bytes=len(json.dumps(exchange.body).encode()),
        received_at=time.time(),
    )
