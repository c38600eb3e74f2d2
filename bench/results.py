"""What was measured, and the file that keeps it. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement of ours, beside a yardstick where there is one.

    `ours` and `yardstick` are the single runs, in the order in which they were made. `against` says what the yardstick
    is. `summed_up` makes one number of them.
    """

    name: str
    unit: str
    ours: Sequence[float]
    yardstick: Sequence[float] = ()
    against: str = ""
    summed_up: Callable[[Sequence[float]], float] = median

    @property
    def our_value(self) -> float:
        return self.summed_up(self.ours)

    @property
    def yardstick_value(self) -> float | None:
        return self.summed_up(self.yardstick) if self.yardstick else None

    @property
    def ratio(self) -> float | None:
        """Ours in yardsticks: of throughputs more is better, of times and memory less."""
        return self.our_value / self.yardstick_value if self.yardstick_value else None

    def as_json(self) -> dict[str, Any]:
        return {
            "ours": rounded(self.our_value),
            "yardstick": rounded(self.yardstick_value),
            "ratio": rounded(self.ratio),
            "unit": self.unit,
            "runs": {"ours": list(map(rounded, self.ours)), "yardstick": list(map(rounded, self.yardstick))},
        }


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that is not smaller than `share` of them (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def p99(values: Sequence[float]) -> float:
    return percentile(values, 0.99)


def rounded(value: float | None) -> float | None:
    """Four digits that count: more of them would only be noise."""
    return None if value is None else float(f"{value:.4g}")


def write(path: Path, *, machine: Mapping[str, Any], versions: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Whole or not at all: a run that is broken off leaves the last result as it was."""
    path.parent.mkdir(exist_ok=True)
    content = {
        "machine": dict(machine),
        "versions": dict(versions),
        "benches": {row.name: row.as_json() for row in rows},
    }
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps(content, indent=2) + "\n")
    unfinished.replace(path)
