"""The life of a price version: draft → scheduled → active → retired, and back by a new version.

Exactly one version is active (L7). What activates or retires locks all versions that are not retired, in the order of
their ids, so two who want it take turns; the second finds another version active than it wanted to replace, and is
told. Turns keep the price that they opened with: nothing that ran is repriced by any of this.
"""

from __future__ import annotations

import re
from datetime import datetime

import structlog
from django.db import transaction
from django.utils import timezone

from config.core.errors import DatabaseUnavailable, ValidationFailed
from config.core.transactions import retrying
from pricing.actor import act_as
from pricing.drafting import ensure_future, ensure_revision, insert_copy, lock_one
from pricing.errors import AnotherIsActive, VersionNotEditable
from pricing.models import PricingVersion
from pricing.services import find_version
from users.staff_log import ADDITION, record

DRAFT, SCHEDULED = PricingVersion.Status.DRAFT, PricingVersion.Status.SCHEDULED
ACTIVE, RETIRED = PricingVersion.Status.ACTIVE, PricingVersion.Status.RETIRED
BEAT = "schedule"
_LOCK_ATTEMPTS = 10
_LONGEST_NAME = 64

log = structlog.get_logger(__name__)


def schedule(
    *, pricing_version: str, actor: str, effective_at: datetime | None = None, expected_revision: int | None = None
) -> PricingVersion:
    """Promise a draft for a time to come (default: the one that it names), or move a scheduled one to another time.

    From here on nobody edits its prices: what was looked at is what comes into force.

    Locks:       the version row.
    Idempotent:  yes: the same time again changes nothing and makes no revision.
    Raises:      NotFound, StaleRevision, VersionNotEditable, ValidationFailed for a time that is past or missing, or a
                 version without prices; nothing is written.
    """

    def work() -> PricingVersion:
        with transaction.atomic():
            version = lock_one(pricing_version, actor=actor, expected_revision=expected_revision)
            _ensure_status(version, DRAFT, SCHEDULED, rule="only a draft can be scheduled")
            moment = effective_at or version.effective_at
            if moment is None:
                raise ValidationFailed("Say when it comes into force.", field="effective_at", error_code="required")
            ensure_future(moment)
            _ensure_prices(version)
            if (version.status, version.effective_at) != (SCHEDULED, moment):
                version.status, version.effective_at = SCHEDULED, moment
                version.save(update_fields=["status", "effective_at"])
                record(version, f"{version} comes into force on {moment:%Y-%m-%d at %H:%M} UTC.", actor=actor)
            version.refresh_from_db()
            return version

    return retrying(work, attempts=2)


def unschedule(*, pricing_version: str, actor: str, expected_revision: int | None = None) -> PricingVersion:
    """Take a scheduled version back to draft, where it can be edited again. It keeps its time as a plan.

    Locks:       the version row.
    Idempotent:  yes: a draft stays one.
    Raises:      NotFound, StaleRevision, VersionNotEditable once it has come into force; nothing is written.
    """

    def work() -> PricingVersion:
        with transaction.atomic():
            version = lock_one(pricing_version, actor=actor, expected_revision=expected_revision)
            _ensure_status(version, DRAFT, SCHEDULED, rule="only a scheduled version goes back to draft")
            if version.status != DRAFT:
                version.status = DRAFT
                version.save(update_fields=["status"])
                record(version, f"{version} is a draft again.", actor=actor)
            version.refresh_from_db()
            return version

    return retrying(work, attempts=2)


def activate(
    *,
    pricing_version: str,
    actor: str,
    expected_revision: int | None = None,
    replaces: str | None = None,
    replaces_revision: int | None = None,
) -> PricingVersion:
    """Bring a draft or a scheduled version into force now, and retire the active one, in one transaction.

    `replaces` is the version that the caller believes to be active (default: the one that is, as this begins), and
    `replaces_revision` the revision of it that was compared: an edit since then would be undone unseen.

    Locks:       all versions that are not retired, by id.
    Idempotent:  yes: the active version stays as it is.
    Keeps:       L7.
    Raises:      NotFound, StaleRevision, AnotherIsActive, VersionNotEditable, ValidationFailed for a version without
                 prices; nothing is written.
    """
    seen = replaces or _name_of_active()

    def work() -> PricingVersion:
        with transaction.atomic():
            act_as(actor)
            found, living = find_version(pricing_version), _lock_living()
            version = next((row for row in living if row.pk == found.pk), None)
            if version is None:
                version = PricingVersion.objects.get(pk=found.pk)
            if version.status == ACTIVE:
                return version
            ensure_revision(version, expected_revision)
            _ensure_status(version, DRAFT, SCHEDULED, rule="only a draft or a scheduled version can be activated")
            _ensure_replaces(living, seen, replaces_revision)
            record(version, f"{version} is in force.", actor=actor)
            return _put_in_force(version, living)

    return retrying(work, attempts=2)


def roll_back(
    *,
    pricing_version: str,
    actor: str,
    name: str | None = None,
    note: str = "",
    expected_revision: int | None = None,
    replaces: str | None = None,
    replaces_revision: int | None = None,
) -> PricingVersion:
    """Make a new version that has the prices of one that was in force, and bring it into force, in one transaction.

    The old one stays retired, with its history. The new name is `<old name>-rollback-<n>` unless one is given.

    Locks:       all versions that are not retired, by id. A retired one cannot change.
    Idempotent:  no, each makes a version; sent twice with the same `replaces`, the second is refused.
    Keeps:       L7.
    Raises:      NotFound, StaleRevision, AnotherIsActive, VersionNotEditable, ValidationFailed for a name that exists;
                 nothing is written.
    """
    seen = replaces or _name_of_active()

    def work() -> PricingVersion:
        with transaction.atomic():
            act_as(actor)
            living, source = _lock_living(), find_version(pricing_version)
            ensure_revision(source, expected_revision)
            if source.status != RETIRED or source.activated_at is None:
                raise VersionNotEditable(
                    pricing_version=source.version,
                    version_status=source.status,
                    rule="one rolls back to a version that was in force and is no more",
                )
            _ensure_replaces(living, seen, replaces_revision)
            why = note or f"Rolled back to {source.version} from {seen}."
            made = insert_copy(source, version=name or rollback_name(source.version), fields={"note": why})
            record(made, f"{made} is in force, with the prices of {source}.", actor=actor, flag=ADDITION)
            return _put_in_force(made, living)

    return retrying(work, attempts=2)


def rollback_name(version: str) -> str:
    """The first of `<version>-rollback-1`, `-2` … that is free. Of a rollback's own name the old number goes."""
    stem = re.sub(r"-rollback-[0-9]+\Z", "", version)
    taken = set(PricingVersion.objects.filter(version__contains="-rollback-").values_list("version", flat=True))
    for number in range(1, len(taken) + 2):
        suffix = f"-rollback-{number}"
        name = stem[: _LONGEST_NAME - len(suffix)] + suffix
        if name not in taken:
            return name
    raise AssertionError("unreachable: of n + 1 names n are taken")


def activate_due(now: datetime | None = None) -> PricingVersion | None:
    """Bring the scheduled version into force whose time has come; what the beat does every few seconds.

    Where several are due, because nobody looked for a while, the latest comes into force, and those before it retire.

    Locks:       none while nothing is due; then all versions that are not retired, by id.
    Idempotent:  yes: the second of two at once finds nothing due.
    Keeps:       L7.
    """
    moment = now or timezone.now()
    if not PricingVersion.objects.filter(status=SCHEDULED, effective_at__lte=moment).exists():
        return None

    def work() -> PricingVersion | None:
        with transaction.atomic():
            act_as(BEAT)
            living = _lock_living()
            due = [row for row in living if _is_due(row, moment)]
            if not due:
                return None
            return _put_in_force(max(due, key=lambda row: (row.effective_at, row.id)), living, moment)

    return retrying(work)


def _lock_living() -> list[PricingVersion]:
    """Lock every version that is not retired.

    Whoever we waited for may have brought a version into force that our statement does not know, having begun before:
    then no row that we got is active, and the next statement sees it. Its id is younger than what we hold, so the order
    of locks is kept.
    """
    living = PricingVersion.objects.select_for_update().exclude(status=RETIRED).order_by("id")
    for _ in range(_LOCK_ATTEMPTS):
        # `all`, because a queryset remembers its rows.
        rows = list(living.all())
        if any(row.status == ACTIVE for row in rows) or _name_of_active() is None:
            return rows
    raise DatabaseUnavailable("Prices are being activated by others right now; please try again.")


def _put_in_force(
    version: PricingVersion, living: list[PricingVersion], moment: datetime | None = None
) -> PricingVersion:
    """Retire what is active, and what was to come into force before now; activate the version. All are locked."""
    now = timezone.now()
    _ensure_prices(version)
    for row in living:
        if row.pk != version.pk and (row.status == ACTIVE or _is_due(row, moment or now)):
            row.status, row.retired_at = RETIRED, now
            # Before the other becomes active: at no statement are there two.
            row.save(update_fields=["status", "retired_at"])
    version.status, version.activated_at = ACTIVE, now
    if version.effective_at is None or version.effective_at > now:
        version.effective_at = now
    version.save(update_fields=["status", "activated_at", "effective_at"])
    version.refresh_from_db()
    log.info("price_version_activated", pricing_version=version.version, revision=version.revision)
    return version


def _is_due(version: PricingVersion, moment: datetime) -> bool:
    return version.status == SCHEDULED and version.effective_at is not None and version.effective_at <= moment


def _name_of_active() -> str | None:
    return PricingVersion.objects.filter(status=ACTIVE).values_list("version", flat=True).first()


def _ensure_status(version: PricingVersion, *allowed: PricingVersion.Status, rule: str) -> None:
    if version.status not in allowed:
        raise VersionNotEditable(pricing_version=version.version, version_status=version.status, rule=rule)


def _ensure_replaces(living: list[PricingVersion], seen: str | None, seen_revision: int | None) -> None:
    for row in living:
        if row.status != ACTIVE:
            continue
        if row.version != seen:
            raise AnotherIsActive(replaces=str(seen), pricing_version=row.version, revision=row.revision)
        ensure_revision(row, seen_revision)


def _ensure_prices(version: PricingVersion) -> None:
    """With none, every turn would be refused."""
    if not version.models.exists():
        raise ValidationFailed("This version prices no model alias.", field="version", error_code="no_prices")
