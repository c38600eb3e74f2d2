"""The explicit ways to change a price. Each owns its transaction and locks the version, so edits of it take turns.

The revision itself is made by the database (`pricing.triggers`), the fresh snapshot by `pricing.signals` on commit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from config.core.errors import NotFound, ValidationFailed
from config.core.transactions import retrying
from pricing.actor import act_as
from pricing.errors import NoActiveVersion, StaleRevision, UnknownModelAlias, VersionNotEditable
from pricing.models import (
    ALIAS_PATTERN,
    TOOL_PATTERN,
    USD_RATES,
    VERSION_PATTERN,
    ModelPricing,
    PricingVersion,
    ToolPricing,
)
from pricing.saying import record_since_read

REQUIRED_FIELDS = ("multiplier", "provider_model", "context_tokens")
EDITABLE_FIELDS = frozenset({*REQUIRED_FIELDS, "provider", "fallback_alias", *USD_RATES})


def find_version(pricing_version: str | None) -> PricingVersion:
    """A version by its name; the active one for None. Raises: NotFound, NoActiveVersion."""
    if pricing_version is None:
        active = PricingVersion.objects.filter(status=PricingVersion.Status.ACTIVE).first()
        if active is None:
            raise NoActiveVersion
        return active
    if not re.fullmatch(VERSION_PATTERN, pricing_version):
        raise NotFound("There is no such price version.")
    found = PricingVersion.objects.filter(version=pricing_version).first()
    if found is None:
        raise NotFound("There is no such price version.")
    return found


def set_multiplier(
    *,
    model_alias: str,
    multiplier: Decimal,
    actor: str,
    pricing_version: str | None = None,
    expected_revision: int | None = None,
) -> ModelPricing:
    """Change what one alias costs, in a draft or in the active version (the default), as a recorded revision.

    Units:       multiplier ≥ 0, at most 4 places.
    Locks:       the version row.
    Idempotent:  yes: the same multiplier again changes nothing and makes no revision.
    Raises:      NotFound, UnknownModelAlias, StaleRevision, VersionNotEditable, ValidationFailed; nothing is written.
    """

    def work() -> ModelPricing:
        with transaction.atomic():
            version = _lock(pricing_version, actor=actor, expected_revision=expected_revision)
            row = _find(version, model_alias)
            if row is None:
                raise UnknownModelAlias(version.version)
            saved = _save(row, {"multiplier": multiplier})
            record_since_read(version, actor=actor)
            return saved

    return retrying(work, attempts=2)


def put_model(
    *,
    pricing_version: str,
    model_alias: str,
    fields: Mapping[str, Any],
    actor: str,
    expected_revision: int | None = None,
) -> tuple[ModelPricing, bool]:
    """Make an alias in a draft or in the active version, or change the named fields of one. True: it is new.

    A new alias needs `REQUIRED_FIELDS`; its fallback must be another alias of the same version.

    Locks:       the version row.
    Idempotent:  yes: what changes nothing makes no revision.
    Raises:      NotFound, StaleRevision, VersionNotEditable, ValidationFailed; nothing is written.
    """
    for name in sorted(set(fields) - EDITABLE_FIELDS):
        raise ValidationFailed("Unknown member.", field=name, error_code="unknown_field")
    if not re.fullmatch(ALIAS_PATTERN, model_alias):
        raise ValidationFailed("Letters, digits and . _ : / - only, at most 64 characters.", field="model_alias")

    def work() -> tuple[ModelPricing, bool]:
        with transaction.atomic():
            version = _lock(pricing_version, actor=actor, expected_revision=expected_revision)
            row = _find(version, model_alias)
            saved = _save(row or _new(version, model_alias, fields), fields)
            record_since_read(version, actor=actor)
            return saved, row is None

    return retrying(work, attempts=2)


def remove_model(*, pricing_version: str, model_alias: str, actor: str, expected_revision: int | None = None) -> None:
    """Take an alias out of a draft. From the active version nothing is taken: turns would be refused at once.

    Locks:       the version row.
    Idempotent:  no: what is not there is reported.
    Raises:      NotFound, UnknownModelAlias, StaleRevision, VersionNotEditable, ValidationFailed where another alias
                 falls back to this one; nothing is written.
    """

    def work() -> None:
        with transaction.atomic():
            version = _lock(pricing_version, actor=actor, expected_revision=expected_revision)
            if version.status != PricingVersion.Status.DRAFT:
                raise VersionNotEditable(
                    pricing_version=version.version,
                    version_status=version.status,
                    rule="model aliases are removed from drafts only",
                )
            row = _find(version, model_alias)
            if row is None:
                raise UnknownModelAlias(version.version)
            if version.models.filter(fallback_alias=model_alias).exists():
                raise ValidationFailed("Another model alias falls back to this one.", field="model_alias")
            row.delete()
            record_since_read(version, actor=actor)

    return retrying(work, attempts=2)


def put_tool(
    *, pricing_version: str, tool_name: str, credits_per_call: Decimal, actor: str, expected_revision: int | None = None
) -> tuple[ToolPricing, bool]:
    """Say what a call of a tool costs, in a draft or in the active version. True: it had no price there.

    Units:       credits ≥ 0, at most 8 places; 0 is free.
    Locks:       the version row.
    Idempotent:  yes: the same price again changes nothing and makes no revision.
    Raises:      NotFound, StaleRevision, VersionNotEditable, ValidationFailed; nothing is written.
    """
    if not re.fullmatch(TOOL_PATTERN, tool_name):
        raise ValidationFailed("Letters, digits and _ - only, at most 64 characters.", field="tool_name")

    def work() -> tuple[ToolPricing, bool]:
        with transaction.atomic():
            version = _lock(pricing_version, actor=actor, expected_revision=expected_revision)
            row = version.tools.filter(tool_name=tool_name).first() or ToolPricing(version=version, tool_name=tool_name)
            is_new = row._state.adding  # noqa: SLF001 - Django's documented way to ask
            row.credits_per_call = credits_per_call
            _clean(row)
            row.save(force_insert=is_new, update_fields=None if is_new else ["credits_per_call"])
            record_since_read(version, actor=actor)
            return ToolPricing.objects.select_related("version").get(pk=row.pk), is_new

    return retrying(work, attempts=2)


def remove_tool(*, pricing_version: str, tool_name: str, actor: str, expected_revision: int | None = None) -> None:
    """Take a tool's price out of a draft or of the active version: from then on it is free.

    Locks:       the version row.
    Raises:      NotFound, also where the version does not price this tool, StaleRevision, VersionNotEditable.
    """

    def work() -> None:
        with transaction.atomic():
            version = _lock(pricing_version, actor=actor, expected_revision=expected_revision)
            row = version.tools.filter(tool_name=tool_name).first() if re.fullmatch(TOOL_PATTERN, tool_name) else None
            if row is None:
                raise NotFound("This price version does not price such a tool.")
            row.delete()
            record_since_read(version, actor=actor)

    retrying(work, attempts=2)


def _lock(pricing_version: str | None, *, actor: str, expected_revision: int | None) -> PricingVersion:
    """Lock the version and judge it as it is now: while we waited, somebody may have changed or retired it."""
    act_as(actor)
    found = find_version(pricing_version)
    version = PricingVersion.objects.select_for_update().get(pk=found.pk)
    if not version.editable:
        raise VersionNotEditable(pricing_version=version.version, version_status=version.status)
    if expected_revision is not None and expected_revision != version.revision:
        raise StaleRevision(pricing_version=version.version, expected=expected_revision, revision=version.revision)
    return version


def _find(version: PricingVersion, model_alias: str) -> ModelPricing | None:
    if not re.fullmatch(ALIAS_PATTERN, model_alias):
        return None
    return version.models.filter(model_alias=model_alias).first()


def _new(version: PricingVersion, model_alias: str, fields: Mapping[str, Any]) -> ModelPricing:
    for name in REQUIRED_FIELDS:
        if name not in fields:
            raise ValidationFailed("A new model alias needs this.", field=name, error_code="required")
    return ModelPricing(version=version, model_alias=model_alias)


def _save(row: ModelPricing, fields: Mapping[str, Any]) -> ModelPricing:
    """Write the fields and read the row back with what the database made of it: revision and time."""
    for name, value in fields.items():
        setattr(row, name, value)
    _validate(row)
    is_new = row._state.adding  # noqa: SLF001 - Django's documented way to ask
    row.save(force_insert=is_new, update_fields=None if is_new else list(fields))
    return ModelPricing.objects.select_related("version").get(pk=row.pk)


def _clean(row: ModelPricing | ToolPricing) -> None:
    """Judge the values here as well: PostgreSQL would round a place too many away in silence."""
    try:
        row.clean_fields(exclude=["version"])
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise ValidationFailed(messages[0], field=field) from None


def _validate(row: ModelPricing) -> None:
    _clean(row)
    fallback = row.fallback_alias
    if fallback is None:
        return
    others = row.version.models.exclude(model_alias=row.model_alias)
    if not others.filter(model_alias=fallback).exists():
        raise ValidationFailed("No other model alias of this version has that name.", field="fallback_alias")
