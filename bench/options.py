"""What a run measures and for how long, from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from config.embedded.errors import EmbeddedError


@dataclass(frozen=True, slots=True)
class Options:
    """`seconds` is how long each run of a throughput lasts, `rounds` how often each is run."""

    only: tuple[str, ...] = ()
    seconds: float = 4.0
    rounds: int = 3
    streams: int = 1_000
    saves: int = 200
    is_big: bool = False
    with_litellm: bool = True

    def wants(self, *names: str) -> bool:
        """Whether a kind is asked for: by the name of one of its rows, or by the beginning of it."""
        return not self.only or any(name.startswith(wanted) for name in names for wanted in self.only)


def read_options(environment: Mapping[str, str]) -> Options:
    """Raises: EmbeddedError, which names the variable."""
    usual = Options()
    return Options(
        only=tuple(environment.get("BENCH_ONLY", "").replace(",", " ").split()),
        seconds=_number(environment, "BENCH_SECONDS", usual.seconds),
        rounds=int(_number(environment, "BENCH_ROUNDS", usual.rounds)),
        streams=int(_number(environment, "BENCH_STREAMS", usual.streams)),
        saves=int(_number(environment, "BENCH_SAVES", usual.saves)),
        is_big=environment.get("BENCH_BIG", "0") == "1",
        with_litellm=environment.get("BENCH_LITELLM", "1") == "1",
    )


def _number(environment: Mapping[str, str], variable: str, usual: float) -> float:
    text = environment.get(variable) or str(usual)
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 100_000:
        raise EmbeddedError(f"{variable}={text} is not a number above 0")
    return number
