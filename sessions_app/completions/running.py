"""The completions that this process runs.

Each is a task of its own: it is metered and settled whatever becomes of its client. A client that goes away ends its
call, and what came until then is billed; one that left an Idempotency-Key may come back for the answer, so that call
goes on.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncIterator
from functools import partial
from uuid import UUID

import structlog
from django.conf import settings

from billing import ledger
from config.core.errors import ShuttingDown
from config.core.transactions import DATABASE_ERRORS, in_thread, patiently
from sessions_app import metrics
from sessions_app.completions import rows
from sessions_app.completions.errors import CompletionFailed
from sessions_app.completions.opening import RESOURCE, OpenedCompletion
from sessions_app.completions.outcome import Outcome, answer_of
from sessions_app.completions.settling import settle_completion
from sessions_app.llm import gateway
from sessions_app.llm.types import ChatRequest, ChatResult
from sessions_app.models import Completion
from sessions_app.turns.meter import metered

log = structlog.get_logger(__name__)
# What the provider was paid for must not be lost while the database is away.
_SETTLE_PATIENCE_S = 600
_STOP_S = 5.0


class CompletionRun:
    """`text()` is what the provider says, as it says it; `outcome()` comes after the commit."""

    def __init__(self, opened: OpenedCompletion) -> None:
        self.opened = opened
        self.created_at = opened.created_at
        self.task: asyncio.Task[Outcome] = asyncio.create_task(self._run(), name=f"completion {opened.id}")
        self._said: asyncio.Queue[str | None] = asyncio.Queue()
        self._is_stopped = False
        self._is_asking = False

    async def text(self) -> AsyncIterator[str]:
        while (text := await self._said.get()) is not None:
            yield text

    async def outcome(self) -> Outcome:
        """Raises: CompletionFailed where somebody else has settled it, OperationalError where nobody could yet."""
        return await asyncio.shield(self.task)

    def leave(self) -> None:
        """The client is gone."""
        if self.opened.request.claim is None:
            self.stop()

    def stop(self) -> None:
        """End the provider's call, once; settling is not to be stopped."""
        self._is_stopped = True
        if self._is_asking:
            self._is_asking = False
            self.task.cancel()

    async def _run(self) -> Outcome:
        try:
            return await self._settled(await self._asked())
        finally:
            self._said.put_nowait(None)

    async def _asked(self) -> ChatResult:
        opened, results = self.opened, list[ChatResult]()
        request = ChatRequest(
            provider=opened.price.provider,
            model=opened.price.provider_model,
            messages=opened.request.messages,
            max_output_tokens=opened.output_tokens,
            request_id=f"{opened.id}-1",
            temperature=opened.request.temperature,
            response_schema=opened.request.schema,
            tools=opened.request.tools,
            tool_choice=opened.request.tool_choice,
            options=opened.request.options,
        )
        asking = asyncio.current_task()
        self._is_asking = True
        if self._is_stopped:
            self.stop()
        try:
            await gateway.complete(request, on_delta=self._said.put_nowait, report=results.append)
        except asyncio.CancelledError:
            # Ours, by `stop`: the gateway has reported what came until then.
            if asking is not None:
                asking.uncancel()
        except Exception:
            # A bug of ours. It has reported this call, too, and whatever that cost is to be settled now.
            log.exception("completion_broke", completion_id=str(opened.id))
        finally:
            self._is_asking = False
        return results[0]

    async def _settled(self, result: ChatResult) -> Outcome:
        opened = self.opened
        call = metered(
            result,
            price=opened.price,
            weights=opened.book.weights,
            call_index=1,
            purpose="direct",
            request_id=f"{opened.id}-1",
            called_at=self.created_at,
        )
        answer = answer_of(result, call)
        status = Completion.Status.CANCELLED if result.status == "cancelled" else answer.status
        work = partial(
            settle_completion,
            id_=opened.id,
            user_id=opened.request.user_id,
            claim=opened.claim,
            book=opened.book,
            call=call,
            status=status,
            answer=answer.as_json() if opened.request.claim else None,
        )
        settlement = await patiently(work, patience_s=_SETTLE_PATIENCE_S)
        if settlement is None:
            raise CompletionFailed(code="provider_unavailable", detail="This call was settled elsewhere.")
        metrics.call_finished(result=result, call=call)
        metrics.completion_ended(status)
        log.info(
            "completion",
            model_alias=opened.price.model_alias,
            status=result.status,
            latency_ms=result.latency_ms,
            charged=str(settlement.charged),
        )
        return Outcome(
            opened.id, opened.price.model_alias, self.created_at, answer, settlement.charged, settlement.balance_after
        )


class Completions:
    """One per event loop: holds the runs, renews their leases, drains them."""

    def __init__(self) -> None:
        self.runs: dict[UUID, CompletionRun] = {}
        self.draining = False
        self._heart: asyncio.Task[None] | None = None

    def admit(self) -> None:
        """Raises: ShuttingDown once draining has begun."""
        if self.draining:
            raise ShuttingDown

    def start(self, opened: OpenedCompletion) -> CompletionRun:
        run = CompletionRun(opened)
        self.runs[opened.id] = run
        run.task.add_done_callback(partial(self._ended, opened.id))
        if self._heart is None or self._heart.done():
            self._heart = asyncio.create_task(self._beat(), name="completions heartbeat")
        return run

    async def drain(self, timeout_s: float) -> None:
        """Admit nothing more and let the running ones end; those that take too long are stopped and billed."""
        self.draining = True
        tasks = [run.task for run in self.runs.values()]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=timeout_s)
        for run in list(self.runs.values()):
            run.stop()
        if late:
            await asyncio.wait(late, timeout=_STOP_S)

    def _ended(self, id_: UUID, task: asyncio.Task[Outcome]) -> None:
        self.runs.pop(id_, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("completion_not_settled", completion_id=str(id_), exc_info=error)

    async def _beat(self) -> None:
        while self.runs:
            started = time.monotonic()
            mine = {id_: run.opened.claim for id_, run in self.runs.items()}
            try:
                await in_thread(partial(_renew, mine), lane="leases")
            except DATABASE_ERRORS as error:
                log.warning("leases_not_renewed", completions=len(mine), error=str(error))
                # Again as soon as the database may be back, lest these calls be taken for dead.
                await asyncio.sleep(0.5)
                continue
            await asyncio.sleep(max(0.1, settings.TURN_LEASE_S / 3 - (time.monotonic() - started)))


def _renew(mine: dict[UUID, UUID]) -> None:
    rows.renew(mine)
    ledger.renew_holds(reference_type=RESOURCE, reference_ids=mine)


_of_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Completions] = weakref.WeakKeyDictionary()


def completions() -> Completions:
    """Those of the running event loop."""
    return _of_loop.setdefault(asyncio.get_running_loop(), Completions())
