"""What a change of prices was, in words for Django's LogEntry: read from the revisions that the database made of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db.models import Model
from django.utils.text import capfirst

from pricing.models import ModelPricing, PricingRevision, PricingVersion
from users.staff_log import record

_ACTION = PricingRevision.Action


def record_since_read(version: PricingVersion, *, actor: str) -> None:
    """Say in Django's LogEntry what has changed of a version since the instance was read, if anything has."""
    text = said_since(version.version, version.revision)
    if text:
        record(version, text, actor=actor)


def said_since(pricing_version: str, revision: int) -> str:
    """A sentence for each value that has changed after that revision, old → new; empty where none has."""
    rows = PricingRevision.objects.filter(pricing_version=pricing_version, revision__gt=revision)
    return " ".join(one for row in rows.defer("snapshot").order_by("revision") for one in _sentences(row))


def _sentences(row: PricingRevision) -> Iterator[str]:
    if row.tool_name is not None:
        old, new = (row.changes["credits_per_call"][side] for side in ("old", "new"))
        yield f"Tool {row.tool_name}: {old or 'free'} → {f'{new} a call' if new else 'free'}."
    elif row.model_alias is None:
        yield from [f"{row.pricing_version} is a draft."] if row.action == _ACTION.CREATED else _of_version(row)
    elif row.action == _ACTION.REMOVED:
        yield f"Took {row.model_alias} out."
    elif row.action == _ACTION.CREATED:
        yield f"Multiplier of {row.model_alias}: new → {row.changes['multiplier']['new']}."
    else:
        for label, old_to_new in _changes(row, ModelPricing):
            yield f"{label} of {row.model_alias}: {old_to_new}."


def _of_version(row: PricingRevision) -> Iterator[str]:
    for label, old_to_new in _changes(row, PricingVersion):
        # A note may end as a sentence does.
        yield f"{label}: {old_to_new.removesuffix('.')}."


def _changes(row: PricingRevision, model: type[Model]) -> Iterator[tuple[str, str]]:
    """In the order in which the fields are declared, which is that of the pages."""
    for field in model._meta.concrete_fields:
        if field.name in row.changes:
            old, new = (_shown(row.changes[field.name][side]) for side in ("old", "new"))
            yield capfirst(str(field.verbose_name)), f"{old} → {new}"


def _shown(value: Any) -> str:
    """A text that is empty is not set, as a value that is missing."""
    return str(value) if value else "–"
