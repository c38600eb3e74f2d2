"""Turns that are waited for: how many a second, and how long one takes alone. And what a second web process brings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import cycle, repeat
from pathlib import Path
from statistics import median

from bench import seats
from bench.alternating import alternate
from bench.clients import load
from bench.clients.http import request
from bench.options import Options
from bench.results import Row
from bench.seats import Seat
from bench.servers import litellm
from bench.servers.upstreams import Upstreams
from bench.servers.web import running_webs

THROUGHPUT = {"turn_throughput_16": 16, "turn_throughput_64": 64}
LATENCY = "turn_latency_1"
TWO = "two_processes"
# So many that none grows a long history, which every turn reads: each has its next turn after all others have had one.
USERS, SESSIONS = 200, 20
MESSAGE = "Should a small team write down how it decides?"
BARE = "bare"
WARM_UP_S = 2.0


def turn_requests(places: Sequence[Seat], message: str = MESSAGE, *, ending: str = "") -> list[bytes]:
    body = {"message": message, "max_output_tokens": 256}
    return [
        request("POST", f"/api/v1/sessions/{seat.session_id}/turns{ending}", token=seat.token, body=body)
        for seat in places
    ]


def completion_request(caller: str, *, token: str = "", is_streamed: bool = False, message: str = MESSAGE) -> bytes:  # noqa: S107
    """What is asked of the yardsticks: OpenAI's API, with what our provider is sent for such a turn."""
    messages = [{"role": "system", "content": "You are Ann."}, {"role": "user", "content": message}]
    body = {"model": "bench", "messages": messages, "max_tokens": 256, "stream": is_streamed}
    return request("POST", f"{caller}/v1/chat/completions", token=token, body=body)


def measure(options: Options, folder: Path, upstreams: Upstreams) -> list[Row]:
    """All rows of turns. Two web processes run throughout; the second idles where one is measured."""
    turns = cycle(turn_requests(seats.make(users=USERS, sessions=SESSIONS, name="turns")))
    rows: list[Row] = []
    with ExitStack() as stack:
        upstream = stack.enter_context(upstreams.running())
        webs = stack.enter_context(running_webs(2, folder, upstream=upstream.address))
        ours = [web.address for web in webs]
        targets = {"ours": (ours[:1], turns), "upstream": ([upstream.address], repeat(completion_request(f"/{BARE}")))}
        if options.with_litellm and options.wants(*THROUGHPUT, LATENCY) and litellm.install():
            proxy = stack.enter_context(litellm.running_litellm(folder, upstream=upstream.address))
            targets["LiteLLM"] = ([proxy.address], repeat(completion_request("", token=litellm.KEY)))
        for addresses, requests in ((ours, turns), *targets.values()):
            load.run(addresses, requests, clients=16, seconds=WARM_UP_S)
        for name, clients in THROUGHPUT.items():
            if options.wants(name):
                rows += _beside_all(name, "turns/s", options, _throughputs(targets, clients, options.seconds))
        if options.wants(LATENCY):
            rows += _beside_all(LATENCY, "ms", options, _latencies(targets, options.seconds))
        if options.wants(TWO):
            rows.append(_two(options, ours, turns))
    return rows


Targets = Mapping[str, tuple[Sequence[str], Iterator[bytes]]]
Measure = Callable[[], float]


def _throughputs(targets: Targets, clients: int, seconds: float) -> dict[str, Measure]:
    def measured(addresses: Sequence[str], requests: Iterator[bytes]) -> Measure:
        return lambda: load.run(addresses, requests, clients=clients, seconds=seconds).per_s

    return {name: measured(*target) for name, target in targets.items()}


def _latencies(targets: Targets, seconds: float) -> dict[str, Measure]:
    def measured(addresses: Sequence[str], requests: Iterator[bytes]) -> Measure:
        return lambda: median(load.run(addresses, requests, clients=1, seconds=seconds).latencies_ms)

    return {name: measured(*target) for name, target in targets.items()}


def _beside_all(name: str, unit: str, options: Options, contenders: dict[str, Measure]) -> list[Row]:
    """Beside LiteLLM where it is there, and in a row of its own beside the bare upstream."""
    runs = alternate(name, options.rounds, contenders)
    bare = Row(name, unit, runs["ours"], runs["upstream"], "the bare upstream")
    if "LiteLLM" not in runs:
        return [bare]
    version = litellm.version()
    beside_bare = Row(f"{name}_upstream", unit, runs["ours"], runs["upstream"], bare.against)
    return [Row(name, unit, runs["ours"], runs["LiteLLM"], f"LiteLLM proxy {version}"), beside_bare]


def _two(options: Options, addresses: Sequence[str], turns: Iterator[bytes]) -> Row:
    def measured(chosen: Sequence[str]) -> Measure:
        return lambda: load.run(chosen, turns, clients=32, seconds=options.seconds).per_s

    runs = alternate(TWO, options.rounds, {"two": measured(addresses), "one": measured(addresses[:1])})
    return Row(TWO, "turns/s", runs["two"], runs["one"], "one process of ours")
