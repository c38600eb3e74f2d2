"""Exact token counts from providers that have a tokenizer; None from all others, whose counts are bounded instead.

Never raises, and never takes long: who asks is putting a turn together. A count is remembered by the text's digest; so
is whether a provider has a tokenizer, a yes for good and a no for a while, since the server may only have been down.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from hashlib import blake2b
from threading import Lock, Thread
from time import monotonic

from sessions_app.llm.clients import client
from sessions_app.llm.providers import GatewaySettings, Provider, configured
from sessions_app.llm.tokenizers import NoCountError, Tokenizer, UnreachableError, ask, probe

REQUEST_MAX_S = 2.0
TOTAL_MAX_S = 4.0
BLOCKING_MAX_S = 2.0
NO_FOR_S = 600.0
# After a server that nobody reached, or a tokenizer that failed: it may be starting.
PAUSE_S = 30.0
PARALLEL_MAX = 4
REMEMBERED_MAX = 20_000

# A longer text is bounded by its size: no window is fitted around it.
TEXT_MAX_CHARS = 1_000_000
_CONFIGURED: Mapping[str, Tokenizer] = {"llamacpp": "llamacpp", "vllm": "vllm"}

_Key = tuple[str, str, bytes]


@dataclass(slots=True)
class _Finding:
    """What is known of one provider's tokenizer. `probing` is there while somebody is finding out."""

    kind: Tokenizer | None = None
    ask_again_at: float = 0.0
    probing: Future[Tokenizer | None] | None = None


_lock = Lock()
_findings: dict[str, _Finding] = {}
_counts: OrderedDict[_Key, int] = OrderedDict()


async def count_tokens(
    *, provider: str, model: str, texts: Sequence[str], config: GatewaySettings | None = None
) -> list[int] | None:
    """Tokens of each text, without what a chat template adds. None where the provider does not say."""
    found = (configured() if config is None else config.providers).get(provider)
    if found is None or found.tokenize == "off" or any(len(text) > TEXT_MAX_CHARS for text in texts):
        return None
    counts = _remembered(found, model, texts)
    missing = [text for text in dict.fromkeys(texts) if text not in counts]
    if missing:
        kind = await _tokenizer(found, model)
        if kind is None:
            return None
        counts |= await _ask_each(found, kind, model, missing)
    return [counts[text] for text in texts] if all(text in counts for text in texts) else None


def count_tokens_blocking(
    *,
    provider: str,
    model: str,
    texts: Sequence[str],
    config: GatewaySettings | None = None,
    timeout_s: float = BLOCKING_MAX_S,
) -> list[int] | None:
    """The same for code without an event loop. It waits no longer than `timeout_s`."""
    asking = count_tokens(provider=provider, model=model, texts=texts, config=config)
    future = asyncio.run_coroutine_threadsafe(asking, _background.loop())
    try:
        return future.result(timeout_s)
    except TimeoutError:
        future.cancel()
        return None


def forget() -> None:
    """Forget every count and every finding, as a process does that starts anew."""
    with _lock:
        _findings.clear()
        _counts.clear()


def _remembered(provider: Provider, model: str, texts: Sequence[str]) -> dict[str, int]:
    keys = {text: _key(provider, model, text) for text in texts}
    counts: dict[str, int] = {}
    with _lock:
        for text, key in keys.items():
            if not text:
                counts[text] = 0
            elif key in _counts:
                counts[text] = _counts[key]
                _counts.move_to_end(key)
    return counts


def _remember(provider: Provider, model: str, text: str, count: int) -> None:
    key = _key(provider, model, text)
    with _lock:
        _counts[key] = count
        while len(_counts) > REMEMBERED_MAX:
            _counts.popitem(last=False)


def _key(provider: Provider, model: str, text: str) -> _Key:
    return provider.base_url, model, blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


async def _tokenizer(provider: Provider, model: str) -> Tokenizer | None:
    """The provider's tokenizer; asked for at most once at a time, and not at all while the last no still counts."""
    with _lock:
        finding = _findings.setdefault(provider.base_url, _Finding())
        if monotonic() < finding.ask_again_at:
            return None
        kind = _CONFIGURED.get(provider.tokenize, finding.kind)
        if kind is not None:
            return kind
        probing = finding.probing
        if probing is None:
            finding.probing = Future()
    if probing is not None:
        # Of another thread perhaps. Shielded: who stops waiting must not end it for the others.
        return await asyncio.shield(asyncio.wrap_future(probing))
    return await _find_out(finding, provider, model)


async def _find_out(finding: _Finding, provider: Provider, model: str) -> Tokenizer | None:
    kind: Tokenizer | None = None
    # A question that is broken off has found out nothing, and is asked again by the next one.
    no_for_s = 0.0
    try:
        kind = await probe(client(), provider, model=model)
    except UnreachableError:
        no_for_s = PAUSE_S
    except NoCountError:
        no_for_s = NO_FOR_S
    finally:
        with _lock:
            probing, finding.probing = finding.probing, None
            finding.kind = kind
            finding.ask_again_at = monotonic() + no_for_s
        if probing is not None:
            probing.set_result(kind)
    return kind


async def _ask_each(provider: Provider, kind: Tokenizer, model: str, texts: Sequence[str]) -> dict[str, int]:
    """As many as could be counted in time. A failure ends it: the other texts would fare no better."""
    counts: dict[str, int] = {}
    pending = iter(texts)
    until = monotonic() + TOTAL_MAX_S
    has_failed = False

    async def work() -> None:
        nonlocal has_failed
        for text in pending:
            left_s = until - monotonic()
            if has_failed or left_s <= 0:
                return
            try:
                count = await ask(client(), provider, kind, model=model, text=text, max_s=min(REQUEST_MAX_S, left_s))
            except NoCountError:
                has_failed = True
                return
            counts[text] = count
            _remember(provider, model, text, count)

    await asyncio.gather(*(work() for _ in range(min(PARALLEL_MAX, len(texts)))))
    if has_failed:
        with _lock:
            _findings.setdefault(provider.base_url, _Finding()).ask_again_at = monotonic() + PAUSE_S
    return counts


class _Background:
    """An event loop in a thread of its own, for callers that have none. Started by the first of them.

    Not a loop per call: the name of a provider may take the resolver longer than anybody wants to wait, and
    `asyncio.run` waits for it however long that is.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process_id = 0

    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            # A forked process has the object, but not the thread.
            if self._loop is None or self._process_id != os.getpid():
                self._loop, self._process_id = asyncio.new_event_loop(), os.getpid()
                Thread(target=self._loop.run_forever, name="tokenizing", daemon=True).start()
            return self._loop


_background = _Background()
