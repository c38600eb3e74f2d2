"""The upstream and the client that measures it, on a real socket."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from itertools import repeat

import pytest

from bench.benches.streams import Stream
from bench.benches.turns import completion_request
from bench.clients import load
from bench.clients.http import connect, request
from bench.servers import upstream
from config.embedded.errors import EmbeddedError


@asynccontextmanager
async def serving():
    """An address, in this loop."""
    state = upstream.State()
    server = await asyncio.get_running_loop().create_server(lambda: upstream.Connection(state), "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def frames(body):
    return [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]


async def _asked(*requests):
    async with serving() as address:
        connection = await connect(address)
        answers = [await connection.ask(each) for each in requests]
        connection.close()
    return answers


def test_an_answer_is_streamed_at_once_with_its_usage():
    [(status, body)] = asyncio.run(_asked(completion_request("/ours", is_streamed=True)))
    assert status == 200
    said = [choice["delta"].get("content", "") for frame in frames(body) for choice in frame["choices"]]
    assert "".join(said) == "Every answer here is the same."
    assert frames(body)[-1]["usage"] == {"prompt_tokens": 40, "completion_tokens": 8, "total_tokens": 48}
    assert body.endswith(b"data: [DONE]\n\n")


def test_who_does_not_ask_for_a_stream_gets_the_same_whole():
    [(_, body)] = asyncio.run(_asked(completion_request("/ours")))
    assert json.loads(body)["choices"][0]["message"]["content"] == "Every answer here is the same."


def test_calls_are_counted_by_who_asked():
    one, other = completion_request("/ours"), completion_request("/bare")
    *_, (_, counted) = asyncio.run(_asked(one, other, one, request("GET", "/calls")))
    assert json.loads(counted) == {"ours": 2, "bare": 1}


def test_a_slow_answer_says_when_its_chunks_were_sent_until_it_is_released():
    async def watched():
        stream = Stream(counts=True)
        async with serving() as address:
            connection, other = await connect(address), await connect(address)
            slow = completion_request("/ours", is_streamed=True, message="Tell me (slowly)")
            answer = asyncio.create_task(connection.ask(slow, stream.take))
            await stream.first_seen.wait()
            was_open = not answer.done()
            await other.ask(request("POST", "/release"))
            await answer
            for each in (connection, other):
                each.close()
        return was_open, stream.delays_ms

    was_open, delays_ms = asyncio.run(watched())
    assert was_open
    assert len(delays_ms) == 1
    assert 0 < delays_ms[0] < 10_000


def test_only_the_last_message_says_how_an_answer_is_streamed():
    before = [{"role": "user", "content": "Tell me (slowly)"}, {"role": "assistant", "content": "@1@"}]
    body = {"stream": True, "messages": [*before, {"role": "user", "content": "And now?"}]}
    [(_, answer)] = asyncio.run(_asked(request("POST", "/ours/v1/chat/completions", body=body)))
    assert answer.endswith(b"data: [DONE]\n\n")


def test_a_time_that_is_cut_in_two_is_read_once():
    stream = Stream(counts=True)
    for piece in (b'"delta":"@1234', b'567890@"} "delta":"@1234567891@ ', b"@1234567892", b"@"):
        stream.take(piece)
    assert len(stream.delays_ms) == 3


def test_a_refusal_ends_the_run_that_it_would_make_look_fast():
    async def run():
        async with serving() as address:
            return await load.ask_all([address], repeat(request("GET", "/nowhere")), 2, 0.2)

    result = asyncio.run(run())
    assert result.latencies_ms == []
    assert [text[:3] for text in result.surprises] == ["404"]
    with pytest.raises(EmbeddedError, match="not every request was answered as it should"):
        load.checked(result)
