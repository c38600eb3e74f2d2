"""Everybody in turn, several times: what else the machine does then slows them all, not one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def alternate(name: str, rounds: int, contenders: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """The runs of each. Every other round goes backwards, so that nobody always comes first."""
    runs: dict[str, list[T]] = {contender: [] for contender in contenders}
    with tqdm(total=rounds * len(contenders), desc=name, unit=" runs") as bar:
        for contender in order(list(contenders), rounds):
            bar.set_postfix_str(contender)
            runs[contender].append(contenders[contender]())
            bar.update()
    return runs


def order(contenders: list[str], rounds: int) -> list[str]:
    """Who is measured when."""
    there_and_back = [contenders, contenders[::-1]]
    return [contender for number in range(rounds) for contender in there_and_back[number % 2]]
