"""Opens many turn streams at once and says what each carried: `python -m ….stream_client PORT < jobs > results`.

A job is a JSON line with `session_id`, `token` and `message`; a result is one, too. Before the results it prints
`open`, once every stream is. A process of its own, on bare asyncio: so that a thousand streams cost it little, and that
nothing between the socket and the test puts right what the server sends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

TERMINAL = frozenset({"done", "error"})
OPENING_AT_ONCE = 48
ENDING_AT_ONCE = 16


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines if line)
    return int(status.split(" ")[1]), {name.lower(): value.strip() for name, _, value in fields}


async def read_chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The pieces of a body in chunked transfer coding."""
    while size := int(await reader.readline(), 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readline()


async def read_frames(reader: asyncio.StreamReader) -> AsyncIterator[tuple[int, str, dict[str, Any]]]:
    """The events as (id, name, data), each as soon as it is complete."""
    rest = b""
    async for piece in read_chunks(reader):
        *frames, rest = (rest + piece).split(b"\n\n")
        for frame in frames:
            if not frame.startswith(b":"):
                fields = dict(line.split(b": ", 1) for line in frame.split(b"\n"))
                yield int(fields[b"id"]), fields[b"event"].decode(), json.loads(fields[b"data"])
    if rest:
        raise ValueError("the stream ended within an event")


def request(method: str, path: str, token: str, body: Any = None) -> bytes:
    payload = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} /api/v1{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload


class Viewers:
    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._missing = count
        self._opening = asyncio.Semaphore(OPENING_AT_ONCE)
        self._ending = asyncio.Semaphore(ENDING_AT_ONCE)

    async def watch(self, job: dict[str, str]) -> dict[str, Any]:
        """One stream from its post to its end, and the turn as it is stored when the terminal event comes."""
        async with self._opening:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            path = f"/sessions/{job['session_id']}/turns/stream"
            writer.write(request("POST", path, job["token"], {"message": job["message"]}))
            status, _ = await read_head(reader)
        if status != 200:
            # At once, for the others may be waiting for this one.
            raise RuntimeError(f"{status}: {await reader.read()!r}")
        result: dict[str, Any] = {"ids": [], "names": [], "text": "", "stored": None}
        async for seq, name, data in read_frames(reader):
            if seq == 1:
                self._one_more_is_open()
            result["ids"].append(seq)
            result["names"].append(name)
            if name == "chunk":
                result["text"] += data["delta"]
            if name in TERMINAL:
                result["end"] = data
                result["stored"] = await self._stored(data["turn_id"], job["token"])
        result["closed"] = await reader.read() == b""
        writer.close()
        return result

    def _one_more_is_open(self) -> None:
        self._missing -= 1
        if self._missing == 0:
            print("open", flush=True)

    async def _stored(self, turn_id: str, token: str) -> dict[str, Any]:
        async with self._ending:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(request("GET", f"/turns/{turn_id}", token))
            _, headers = await read_head(reader)
            is_chunked = headers.get("transfer-encoding") == "chunked"
            body = b"".join([piece async for piece in read_chunks(reader)]) if is_chunked else await reader.read()
            writer.close()
        stored: dict[str, Any] = json.loads(body)
        return stored


async def main(port: int) -> None:
    jobs = [json.loads(line) for line in sys.stdin]
    viewers = Viewers(port, len(jobs))
    for result in await asyncio.gather(*map(viewers.watch, jobs)):
        print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
