"""What a version is made up of besides its weights: the kinds of rows under it.

Copying a version, comparing two, and showing what changes go through this list: a new kind of row is one more entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Model

from pricing.models import ModelPricing, PricingVersion, ToolPricing

_NOT_COPIED = frozenset({"id", "version", "updated_at"})


@dataclass(frozen=True, slots=True)
class RowKind:
    """`name` is the rows' name in recorded snapshots and in answers; `key` names one row within its version."""

    name: str
    model: type[Model]
    key: str
    # What a snapshot has of a row that it keeps as one value under its key; None where it keeps whole rows.
    value: str | None = None

    def recorded(self, snapshot: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The rows of this kind in a snapshot; one from before there were any has none."""
        found = snapshot.get(self.name, [])
        return [{self.key: key, self.value: one} for key, one in found.items()] if self.value and found else [*found]

    def copy(self, source: PricingVersion, target: PricingVersion) -> None:
        """Make the target's rows of this kind what the source's are. The target is a draft that has none."""
        copied = [field.name for field in self.model._meta.concrete_fields if field.name not in _NOT_COPIED]
        rows: Any = self.model._default_manager
        for values in rows.filter(version=source).order_by(self.key).values(*copied):
            rows.create(version=target, **values)


ROW_KINDS = (
    RowKind(name="models", model=ModelPricing, key="model_alias"),
    RowKind(name="tools", model=ToolPricing, key="tool_name", value="credits_per_call"),
)
