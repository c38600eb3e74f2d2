"""Drafts: made as a copy of any version, and changed until they are scheduled or activated.

The prices in a draft are edited by `pricing.services`, as those of the active version are.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from config.core.errors import ValidationFailed
from config.core.transactions import retrying
from pricing.actor import act_as
from pricing.errors import StaleRevision, VersionNotEditable
from pricing.models import WEIGHTS, PricingVersion
from pricing.row_kinds import ROW_KINDS
from pricing.saying import record_since_read
from pricing.services import find_version
from users.staff_log import ADDITION, record

DRAFT = PricingVersion.Status.DRAFT
# What is copied with the rows, and what is changed of a draft.
NUMBERS = (*WEIGHTS, "divisor")
DRAFT_FIELDS = frozenset({*NUMBERS, "note", "effective_at"})


def make_draft(
    *, version: str, actor: str, clone_from: str | None = None, fields: Mapping[str, Any] | None = None
) -> PricingVersion:
    """Make a draft that is a copy of another version (default: the active one), but for what `fields` names.

    Units:       weights ≥ 0 and divisor > 0, at most 4 places; `effective_at` lies in the future.
    Locks:       the row of the version that is copied, so that the copy is of one moment.
    Idempotent:  no: a name is given once.
    Raises:      NotFound, NoActiveVersion, ValidationFailed (a name that exists included); nothing is written.
    """

    def work() -> PricingVersion:
        with transaction.atomic():
            act_as(actor)
            found = find_version(clone_from)
            source = PricingVersion.objects.select_for_update().get(pk=found.pk)
            draft = insert_copy(source, version=version, fields=fields or {})
            record(draft, f"{draft} is a draft, cloned from {source}.", actor=actor, flag=ADDITION)
            return draft

    return retrying(work, attempts=2)


def insert_copy(source: PricingVersion, *, version: str, fields: Mapping[str, Any]) -> PricingVersion:
    """The copy itself, within the caller's transaction. Raises: ValidationFailed."""
    draft = PricingVersion(version=version, **{name: getattr(source, name) for name in NUMBERS})
    _set(draft, fields)
    if PricingVersion.objects.filter(version=version).exists():
        raise _name_is_taken()
    try:
        # A savepoint, because a draft of this name may be committed between our look and here.
        with transaction.atomic():
            draft.save(force_insert=True)
    except IntegrityError:
        raise _name_is_taken() from None
    for kind in ROW_KINDS:
        kind.copy(source, draft)
    draft.refresh_from_db()
    return draft


def change_draft(
    *, pricing_version: str, fields: Mapping[str, Any], actor: str, expected_revision: int | None = None
) -> PricingVersion:
    """Change weights, divisor, note or planned time of a draft, as a recorded revision.

    Units:       as for `make_draft`.
    Locks:       the version row.
    Idempotent:  yes: what changes nothing makes no revision.
    Raises:      NotFound, StaleRevision, VersionNotEditable, ValidationFailed; nothing is written.
    """

    def work() -> PricingVersion:
        with transaction.atomic():
            draft = lock_one(pricing_version, actor=actor, expected_revision=expected_revision)
            if draft.status != DRAFT:
                raise VersionNotEditable(
                    pricing_version=draft.version, version_status=draft.status, rule="only drafts can be changed"
                )
            _set(draft, fields)
            draft.save(update_fields=list(fields))
            record_since_read(draft, actor=actor)
            draft.refresh_from_db()
            return draft

    return retrying(work, attempts=2)


def lock_one(pricing_version: str, *, actor: str, expected_revision: int | None) -> PricingVersion:
    """Lock one version for the actor. Raises: NotFound, StaleRevision."""
    act_as(actor)
    found = find_version(pricing_version)
    version = PricingVersion.objects.select_for_update().get(pk=found.pk)
    ensure_revision(version, expected_revision)
    return version


def ensure_revision(version: PricingVersion, expected: int | None) -> None:
    if expected is not None and expected != version.revision:
        raise StaleRevision(pricing_version=version.version, expected=expected, revision=version.revision)


def ensure_future(effective_at: datetime) -> None:
    """What is to come into force in the past would have to reprice what ran since: that is never done."""
    if effective_at <= timezone.now():
        raise ValidationFailed(
            "Must lie in the future; to bring a version into force now, activate it.",
            field="effective_at",
            error_code="not_in_future",
        )


def _set(draft: PricingVersion, fields: Mapping[str, Any]) -> None:
    """Raises: ValidationFailed. PostgreSQL would round a fifth place away in silence, so it is judged here as well."""
    for name in sorted(set(fields) - DRAFT_FIELDS):
        raise ValidationFailed("Unknown member.", field=name, error_code="unknown_field")
    for name, value in fields.items():
        setattr(draft, name, value)
    if fields.get("effective_at") is not None:
        ensure_future(fields["effective_at"])
    try:
        draft.clean_fields()
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise ValidationFailed(messages[0], field=field) from None


def _name_is_taken() -> ValidationFailed:
    return ValidationFailed("A price version of this name exists.", field="version", error_code="unique")
