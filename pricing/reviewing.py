"""What staff look at before and after prices change: the comparison, who changed what, and who serves which price."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.http import HttpRequest

from pricing import serving
from pricing.comparing import Comparison, SamplePrice, compare
from pricing.models import PricingRevision, PricingVersion
from pricing.samples import SAMPLE_TURNS
from pricing.serving import Served

REVISIONS_SHOWN = 50
# More of the page about a version, made by apps that pricing knows nothing of: the simulation reads billing's events.
Section = Callable[[HttpRequest, PricingVersion], str]
_sections: list[Section] = []


def register_section(section: Section) -> None:
    if section not in _sections:
        _sections.append(section)


@dataclass(frozen=True, slots=True)
class ShownRevision:
    row: PricingRevision
    who: str


@dataclass(frozen=True, slots=True)
class ShownProcess:
    """`is_behind`: it serves another version or revision than the one in force. Turns open at the one in force."""

    served: Served
    is_behind: bool


def review_context(request: HttpRequest, version: PricingVersion, against: PricingVersion | None) -> dict[str, Any]:
    """The comparison with what is in force, and what other apps add."""
    comparison = None if against is None or against.pk == version.pk else compare(version, against)
    return {
        "comparison": comparison,
        "samples": SAMPLE_TURNS,
        "sample_rows": [] if comparison is None else _by_alias(comparison),
        "sections": [section(request, version) for section in _sections],
    }


def _by_alias(comparison: Comparison) -> list[tuple[str, list[SamplePrice]]]:
    """A row for each alias, with each sample turn's price in it."""
    columns = zip(*(priced.prices for priced in comparison.samples), strict=True)
    return [(prices[0].model_alias, list(prices)) for prices in columns]


def history_of(version: PricingVersion) -> list[ShownRevision]:
    """The newest changes of a version, newest first. Two statements."""
    rows = PricingRevision.objects.filter(pricing_version=version.version).defer("snapshot").order_by("-revision")
    shown = list(rows[:REVISIONS_SHOWN])
    emails = _emails({row.actor for row in shown})
    return [ShownRevision(row, emails.get(row.actor, row.actor)) for row in shown]


def processes_beside(active: PricingVersion | None) -> list[ShownProcess] | None:
    """Every process that serves prices. None where nobody can tell, because Redis is away."""
    found = serving.processes()
    if found is None:
        return None
    in_force = None if active is None else (active.version, active.revision)
    return [ShownProcess(served, (served.pricing_version, served.revision) != in_force) for served in found]


def _emails(actors: set[str]) -> dict[str, str]:
    """By the text of an id; the program's own actors have none."""
    ids = [actor for actor in actors if _is_id(actor)]
    rows: Any = get_user_model().objects.filter(pk__in=ids)
    return {str(pk): email for pk, email in rows.values_list("pk", "email")}


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
