"""The simulation on the admin's page about a price version: what is recorded of it, and the button that asks for one.

The page itself simulates nothing: millions of events take minutes.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest
from django.template.loader import render_to_string

from billing.models import PriceSimulation
from billing.simulating.recording import read
from billing.simulating.services import DEFAULT_DAYS, MOST_DAYS
from pricing.history import book_at
from pricing.models import PricingVersion

OFFERED_DAYS = (7, 30, 90, MOST_DAYS)


class DaysForm(forms.Form):
    days = forms.IntegerField(min_value=1, max_value=MOST_DAYS, label="Days")


def simulation_section(request: HttpRequest, version: PricingVersion) -> str:
    """Staff who may not see events are told so."""
    may_see = request.user.has_perm("billing.view_llmcallevent")
    form = DaysForm({"days": request.GET.get("days", DEFAULT_DAYS)})
    found = _recorded(version, form.cleaned_data["days"]) if may_see and form.is_valid() else {}
    shown = {"may_see": may_see, "days_form": form, "offered_days": OFFERED_DAYS, "version": version, **found}
    return render_to_string("admin/billing/simulation.html", shown, request)


def _recorded(version: PricingVersion, days: int) -> dict[str, Any]:
    """The newest one that is done, and the newest one that was asked for since, whatever revision they are of."""
    rows = PriceSimulation.objects.filter(pricing_version=version.version, days=days).order_by("-created_at")
    done = rows.filter(status=PriceSimulation.Status.DONE).first()
    newest = rows.defer("result").first()
    return {
        "days": days,
        "done": done,
        "simulation": None if done is None else read(done),
        "has_other_prices": done is not None and _has_other_prices(version, done.pricing_revision),
        "asked": newest if newest is not None and newest != done else None,
    }


def _has_other_prices(version: PricingVersion, revision: int) -> bool:
    """A revision may have made another status or note of it alone."""
    if revision == version.revision:
        return False
    now, then = book_at(version.version, version.revision), book_at(version.version, revision)
    return (now.weights, now.models, now.tools) != (then.weights, then.models, then.tools)
