"""Provider USD rates are taken over into a version, in one transaction, each as a recorded revision of its alias."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from django.db import transaction

from config.core.transactions import retrying
from pricing.drafting import lock_one
from pricing.errors import VersionNotEditable
from pricing.models import ModelPricing
from pricing.provider_rates import find_rates, refusal
from pricing.services import find_version

ACTOR = "import_provider_prices"


@dataclass(frozen=True, slots=True)
class RateChange:
    """`why` it was refused; empty where it was taken over."""

    model_alias: str
    name: str
    old: Decimal | None
    new: Decimal
    source: str
    why: str = ""


@dataclass(slots=True)
class Imported:
    pricing_version: str
    revision: int = 0
    changed: list[RateChange] = field(default_factory=list)
    refused: list[RateChange] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    # Alias, and what it is at which provider.
    not_found: list[tuple[str, str]] = field(default_factory=list)
    tiered: list[str] = field(default_factory=list)


def import_rates(
    *, pricing_version: str | None = None, confirm_large: bool = False, dry_run: bool = False, actor: str = ACTOR
) -> Imported:
    """Take over the rates of genai-prices for every alias of a draft or of the active version (the default).

    Rates that the list lacks stay as they are. What users pay is not touched.

    Units:       USD per million tokens, at most 8 places.
    Locks:       the version row, so each rate is judged beside the one that it replaces.
    Idempotent:  yes: the same list again changes nothing and makes no revision.
    Raises:      NotFound, NoActiveVersion, VersionNotEditable; nothing is written.
    """

    def work() -> Imported:
        with transaction.atomic():
            version = lock_one(find_version(pricing_version).version, actor=actor, expected_revision=None)
            if not version.editable:
                raise VersionNotEditable(pricing_version=version.version, version_status=version.status)
            report = Imported(version.version)
            for row in version.models.order_by("model_alias"):
                _import(row, report, confirm_large=confirm_large, dry_run=dry_run)
            version.refresh_from_db()
            report.revision = version.revision
            return report

    return retrying(work, attempts=2)


def _import(row: ModelPricing, report: Imported, *, confirm_large: bool, dry_run: bool) -> None:
    found = find_rates(provider=row.provider, provider_model=row.provider_model)
    if found is None or not found.rates:
        report.not_found.append((row.model_alias, f"{row.provider}/{row.provider_model}"))
        return
    if found.is_tiered:
        report.tiered.append(row.model_alias)
    taken = []
    for name, new in found.rates.items():
        old: Decimal | None = getattr(row, name)
        if old == new:
            continue
        why = refusal(old, new, confirm_large=confirm_large)
        change = RateChange(row.model_alias, name, old, new, found.source, why or "")
        (report.refused if why else report.changed).append(change)
        if not why:
            setattr(row, name, new)
            taken.append(name)
    if not taken:
        if all(getattr(row, name) == new for name, new in found.rates.items()):
            report.unchanged.append(row.model_alias)
        return
    if not dry_run:
        row.save(update_fields=taken)


def rate_label(name: str) -> str:
    """`input`, `cached input` …"""
    return name.removeprefix("provider_").removesuffix("_usd_per_mtok").replace("_", " ")
