"""A cancelled call closes its socket at once, is reported once, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

import pytest

from pricing.rating import TokenPools
from sessions_app.llm import clients, deadline
from sessions_app.llm.connections import Connections
from sessions_app.tests.scripted_provider import Reply, ScriptedProvider
from sessions_app.tests.unit.llm_calls import (
    ESTIMATED_INPUT,
    Outcome,
    call,
    in_loop,
    make_settings,
)

USAGE_SO_FAR = {"prompt_tokens": 12, "completion_tokens": 2}
SLOW = Reply(chunks=("12345", "678", *["x"] * 1_000), delay_s=0.03)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


def cancel_when(
    provider: ScriptedProvider, condition: Callable[[Outcome], bool], *, times: int = 1, after_s: float = 0.0
) -> Outcome:
    outcome = Outcome()

    async def run() -> None:
        task = asyncio.create_task(call(make_settings(provider.base_url), outcome))
        await until(lambda: condition(outcome))
        await asyncio.sleep(after_s)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not deadline._closing)

    in_loop(run)
    return outcome


def test_a_cancel_keeps_the_text_bills_it_and_closes_the_socket_within_a_second() -> None:
    with ScriptedProvider(lambda _body: SLOW) as provider:
        outcome = cancel_when(provider, lambda outcome: len(outcome.deltas) == 2)
        cancelled_at = time.monotonic()
        assert provider.wait_for(lambda: provider.journal[0].client_closed_at is not None, timeout_s=1.0)
        assert provider.journal[0].client_closed_at < cancelled_at + 1.0  # type: ignore[operator]
        assert len(provider.journal) == 1
    result = outcome.result
    assert (result.status, result.text, result.failure) == ("cancelled", "12345678", None)
    assert (result.usage_source, result.pools) == ("estimated", TokenPools(input_fresh=ESTIMATED_INPUT, output=2))


def test_a_cancel_is_billed_as_the_provider_reported_so_far() -> None:
    reply = Reply(chunks=("a",) * 1_000, delay_s=0.03, usage=USAGE_SO_FAR, usage_in_every_chunk=True)
    with ScriptedProvider(lambda _body: reply) as provider:
        result = cancel_when(provider, lambda outcome: len(outcome.deltas) == 2).result
    assert (result.status, result.text, result.usage_source) == ("cancelled", "aa", "partial")
    assert result.pools == TokenPools(input_fresh=12, output=2)
    assert result.raw_usage == USAGE_SO_FAR


def test_a_cancel_before_any_text_costs_nothing() -> None:
    with ScriptedProvider(lambda _body: Reply(first_delay_s=30)) as provider:
        result = cancel_when(provider, lambda _outcome: len(provider.journal) == 1).result
        assert provider.wait_for(lambda: provider.open_connections == 0, timeout_s=1.0)
    assert (result.status, result.text, result.usage_source) == ("cancelled", "", "none")
    assert (result.pools, result.attempts) == (TokenPools(), 1)


def test_a_cancel_during_back_off_makes_no_further_attempt() -> None:
    with ScriptedProvider(lambda _body: Reply(status=503, headers={"Retry-After": "5"})) as provider:
        result = cancel_when(provider, lambda _outcome: len(provider.journal) == 1).result
        assert (result.status, result.attempts, len(provider.journal)) == ("cancelled", 1, 1)


def test_what_was_held_back_is_part_of_a_cancelled_answer() -> None:
    # "sk-" begins like the key, so it waits for what follows; nothing does.
    with ScriptedProvider(lambda _body: Reply(chunks=("a", "sk-"), fault="stall", fault_after=2)) as provider:
        outcome = cancel_when(provider, lambda outcome: bool(outcome.deltas), after_s=0.2)
    assert (outcome.result.status, outcome.deltas) == ("cancelled", ["a", "sk-"])


def test_cancelling_twice_reports_once_and_gives_the_connection_back() -> None:
    with ScriptedProvider(lambda _body: SLOW) as provider:
        outcome = cancel_when(provider, lambda outcome: len(outcome.deltas) == 2, times=3)
        assert provider.wait_for(lambda: provider.open_connections == 0, timeout_s=1.0)
    assert outcome.result.status == "cancelled"


@pytest.mark.parametrize("times", [1, 2])
def test_three_hundred_cancels_leave_the_pool_flat(times: int) -> None:
    replies = [SLOW, Reply(first_delay_s=30), Reply(fault="hang")]
    with ScriptedProvider() as provider:
        asked = iter(range(10_000))
        provider.script = lambda _body: replies[next(asked) % 3]
        settings = make_settings(provider.base_url)

        async def cancelled_call(number: int) -> None:
            task = asyncio.create_task(call(settings, Outcome()))
            await asyncio.sleep(0.001 * (number % 60))
            for _ in range(times):
                task.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await task

        async def run() -> Outcome:
            for start in range(0, 300, 50):
                await asyncio.gather(*(cancelled_call(number) for number in range(start, start + 50)))
            await until(lambda: not deadline._closing)
            connections = clients.client()._transport
            assert isinstance(connections, Connections)
            assert (connections.open_count, connections.idle_count) == (0, 0)
            # Seen from the other end, while this loop still runs: no socket was forgotten.
            await until(lambda: provider.open_connections == 0)
            provider.script = lambda _body: Reply(chunks=("well",))
            outcome = Outcome()
            await call(settings, outcome)
            assert (connections.open_count, connections.idle_count) == (1, 1)
            return outcome

        outcome = in_loop(run)
    assert (outcome.result.status, outcome.result.text) == ("success", "well")


def test_a_cancel_during_the_tls_handshake_closes_the_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = make_settings(f"https://127.0.0.1:{listener.getsockname()[1]}/v1")

        async def run() -> bytes:
            loop = asyncio.get_running_loop()
            listener.setblocking(False)
            task = asyncio.create_task(call(settings, Outcome()))
            accepted, _ = await loop.sock_accept(listener)
            with accepted:
                accepted.setblocking(False)
                assert await loop.sock_recv(accepted, 65_536)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                return await asyncio.wait_for(loop.sock_recv(accepted, 1), 1.0)

        assert in_loop(run) == b""


def test_other_calls_go_on_while_one_is_cancelled() -> None:
    with ScriptedProvider(lambda _body: Reply(chunks=tuple("abcdef"), delay_s=0.03)) as provider:
        settings = make_settings(provider.base_url)
        kept, dropped = Outcome(), Outcome()

        async def run() -> None:
            keeping = asyncio.create_task(call(settings, kept))
            dropping = asyncio.create_task(call(settings, dropped))
            await until(lambda: len(dropped.deltas) == 2)
            dropping.cancel()
            await keeping

        in_loop(run)
    assert (kept.result.status, kept.result.text) == ("success", "abcdef")
    assert dropped.result.status == "cancelled"


def test_two_hundred_streams_run_side_by_side() -> None:
    with ScriptedProvider(lambda _body: Reply(chunks=tuple("abcdef"), delay_s=0.05)) as provider:
        outcomes = [Outcome() for _ in range(200)]

        async def run() -> None:
            await asyncio.gather(*(call(make_settings(provider.base_url), outcome) for outcome in outcomes))

        started_at = time.monotonic()
        in_loop(run)
        took_s = time.monotonic() - started_at
    assert {outcome.result.text for outcome in outcomes} == {"abcdef"}
    assert {outcome.result.status for outcome in outcomes} == {"success"}
    assert took_s < 10


def test_each_event_loop_has_a_client_of_its_own_and_dead_loops_are_forgotten() -> None:
    with ScriptedProvider() as provider:
        for _ in range(3):
            asyncio.run(_one_call(provider.base_url))
        assert len(_clients_of_calls()) == 1
        in_loop(lambda: call(make_settings(provider.base_url), Outcome()))
        assert _clients_of_calls() == []


def _clients_of_calls() -> list[asyncio.AbstractEventLoop]:
    """Without the loop in which code that has none asks for token counts: it runs on, and keeps its client."""
    return [loop for loop in clients._clients if not loop.is_running()]


async def _one_call(base_url: str) -> None:
    await call(make_settings(base_url), Outcome())
