"""What changes from one price version to another, and what that comes to for three sample turns.

Both sides are read from the record, so each is of one moment, whoever edits meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from config.core.money import EXACT
from pricing.history import book_of
from pricing.models import PricingRevision, PricingVersion
from pricing.price_book import PriceBook
from pricing.row_kinds import ROW_KINDS
from pricing.samples import SAMPLE_TURNS, SampleTurn, cost_of

_PERCENT_PLACES = Decimal("0.01")
_HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class Change:
    """One value, old and new as text; None: not set. `percent` where both are numbers and the old one is not 0."""

    name: str
    old: str | None
    new: str | None

    @property
    def percent(self) -> Decimal | None:
        old, new = _number(self.old), _number(self.new)
        return None if old is None or new is None else percent(old, new)


@dataclass(frozen=True, slots=True)
class RowChanges:
    """The rows of one kind. A row that was added or removed has all its values, a changed one those that differ."""

    name: str
    key: str
    added: list[tuple[str, list[Change]]] = field(default_factory=list)
    removed: list[tuple[str, list[Change]]] = field(default_factory=list)
    changed: list[tuple[str, list[Change]]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SamplePrice:
    """What a sample turn costs with one alias, in credits at 8 places; None where a version lacks the alias."""

    model_alias: str
    old: Decimal | None
    new: Decimal | None

    @property
    def percent(self) -> Decimal | None:
        return None if self.old is None or self.new is None else percent(self.old, self.new)


@dataclass(frozen=True, slots=True)
class PricedSample:
    sample: SampleTurn
    prices: list[SamplePrice]


@dataclass(frozen=True, slots=True)
class Comparison:
    """From `against` (old) to `version` (new)."""

    version: PriceBook
    against: PriceBook
    weights: list[Change]
    rows: list[RowChanges]
    samples: list[PricedSample]

    @property
    def changes_nothing(self) -> bool:
        return not self.weights and not any(kind.added or kind.removed or kind.changed for kind in self.rows)


def percent(old: Decimal, new: Decimal) -> Decimal | None:
    """By how much per cent `new` differs from `old`, signed, 2 places; None where the old one is 0."""
    if old == 0:
        return None
    return EXACT.divide(EXACT.multiply(EXACT.subtract(new, old), _HUNDRED), old).quantize(
        _PERCENT_PLACES, context=EXACT
    )


def compare(version: PricingVersion, against: PricingVersion) -> Comparison:
    new, old = _recorded(version), _recorded(against)
    books = book_of(new), book_of(old)
    return Comparison(
        version=books[0],
        against=books[1],
        weights=_differences(old["weights"], new["weights"]),
        rows=[_rows(kind.name, kind.key, kind.recorded(old), kind.recorded(new)) for kind in ROW_KINDS],
        samples=[_priced(sample, new=books[0], old=books[1]) for sample in SAMPLE_TURNS],
    )


def _recorded(version: PricingVersion) -> Mapping[str, Any]:
    rows = PricingRevision.objects.filter(pricing_version=version.version, revision=version.revision)
    snapshot: Mapping[str, Any] = rows.values_list("snapshot", flat=True).get()
    return snapshot


def _rows(name: str, key: str, old: list[Any], new: list[Any]) -> RowChanges:
    was, now_is = ({row[key]: {**row} for row in rows} for rows in (old, new))
    found = RowChanges(name=name, key=key)
    for row_key in sorted(was.keys() | now_is.keys()):
        before, after = was.get(row_key, {}), now_is.get(row_key, {})
        differences = _differences(before, after, leave_out=key)
        if not before:
            found.added.append((row_key, differences))
        elif not after:
            found.removed.append((row_key, differences))
        elif differences:
            found.changed.append((row_key, differences))
    return found


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], *, leave_out: str = "") -> list[Change]:
    names = [name for name in (new or old) if name != leave_out]
    return [Change(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)]


def _priced(sample: SampleTurn, *, new: PriceBook, old: PriceBook) -> PricedSample:
    aliases = sorted(new.models.keys() | old.models.keys())
    prices = [
        SamplePrice(alias, cost_of(sample, book=old, model_alias=alias), cost_of(sample, book=new, model_alias=alias))
        for alias in aliases
    ]
    return PricedSample(sample, prices)


def _number(text: str | None) -> Decimal | None:
    try:
        number = Decimal(text or "")
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
