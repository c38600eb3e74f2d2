"""A bar chart as numbers for its SVG. Floats, for pixels: no amount is read off here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from billing.desk.pieces import Chart

WIDTH, HEIGHT = 760, 200
LEFT, RIGHT, TOP, BOTTOM = 58, 8, 10, 24
LABELS = 8
_STEPS = (Decimal(1), Decimal(2), Decimal("2.5"), Decimal(5), Decimal(10))


@dataclass(frozen=True, slots=True)
class Bar:
    x: str
    y: str
    width: str
    height: str
    tone: str
    says: str


@dataclass(frozen=True, slots=True)
class Mark:
    at: str
    text: str


@dataclass(frozen=True, slots=True)
class Drawing:
    title: str
    bars: list[Bar]
    lines: list[Mark]
    labels: list[Mark]
    legend: list[tuple[str, str]]
    zero: str


def draw(chart: Chart) -> Drawing:
    values = [Decimal(value) for series in chart.series for value in series.values]
    top = max([*values, Decimal(0)])
    low = min([*values, Decimal(0)])
    step = _step((top - low) / 4)
    high, floor = _up(top, step), -_up(-low, step)
    if high == floor:
        high = floor + step

    def y(value: Decimal) -> Decimal:
        return TOP + (high - value) / (high - floor) * (HEIGHT - TOP - BOTTOM)

    lines = []
    at = floor
    while at <= high:
        lines.append(Mark(_px(y(at)), _short(at)))
        at += step
    legend = [(series.name, series.tone) for series in chart.series] if len(chart.series) > 1 else []
    bars = list(_bars(chart, y(Decimal(0)), y))
    return Drawing(chart.title, bars, lines, _labels(chart), legend, _px(y(Decimal(0))))


def _bars(chart: Chart, zero: Decimal, y: object) -> Iterator[Bar]:
    slot = Decimal(WIDTH - LEFT - RIGHT) / max(len(chart.labels), 1)
    count = len(chart.series)
    width = max(slot * Decimal("0.8") / count, Decimal("0.5"))
    for number, series in enumerate(chart.series):
        for index, (label, value) in enumerate(zip(chart.labels, series.values, strict=True)):
            if not value:
                continue
            end: Decimal = y(Decimal(value))  # type: ignore[operator]
            left = LEFT + slot * index + slot * Decimal("0.1") + width * number
            says = f"{label}: {value} {series.name if count > 1 else chart.unit}".strip()
            yield Bar(
                _px(left), _px(min(end, zero)), _px(width), _px(max(abs(end - zero), Decimal("0.5"))), series.tone, says
            )


def _labels(chart: Chart) -> list[Mark]:
    """As many as fit side by side."""
    slot = Decimal(WIDTH - LEFT - RIGHT) / max(len(chart.labels), 1)
    every = -(-len(chart.labels) // LABELS) or 1
    shown = list(enumerate(chart.labels))[::every]
    return [Mark(_px(LEFT + slot * index + slot / 2), label) for index, label in shown]


def _step(least: Decimal) -> Decimal:
    """A round number not below `least`."""
    if least <= 0:
        return Decimal(1)
    power = Decimal(10) ** least.adjusted()
    return next(step * power for step in _STEPS if step * power >= least)


def _up(value: Decimal, step: Decimal) -> Decimal:
    return (value / step).to_integral_value(ROUND_CEILING) * step


def _short(value: Decimal) -> str:
    """For an axis: 12k instead of 12000."""
    for limit, letter in ((Decimal(10) ** 9, "G"), (Decimal(10) ** 6, "M"), (Decimal(10) ** 3, "k")):
        if abs(value) >= limit:
            return f"{(value / limit).normalize():f}{letter}"
    return f"{value.normalize():f}"


def _px(value: Decimal) -> str:
    return f"{value:.1f}"
