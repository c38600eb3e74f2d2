"""The simulation on the admin's page about a price version."""

from __future__ import annotations

from django import forms
from django.http import HttpRequest
from django.template.loader import render_to_string

from billing.simulating.services import DEFAULT_DAYS, MOST_DAYS, Simulation, last_days, simulate
from pricing.history import book_at
from pricing.models import PricingVersion

OFFERED_DAYS = (7, 30, 90, MOST_DAYS)


class DaysForm(forms.Form):
    days = forms.IntegerField(min_value=1, max_value=MOST_DAYS, label="Days")


def simulation_section(request: HttpRequest, version: PricingVersion) -> str:
    """Staff who may not see events are told so."""
    may_see = request.user.has_perm("billing.view_llmcallevent")
    form = DaysForm({"days": request.GET.get("days", DEFAULT_DAYS)})
    simulation = _simulated(version, form.cleaned_data["days"]) if may_see and form.is_valid() else None
    return render_to_string(
        "admin/billing/simulation.html",
        {"may_see": may_see, "days_form": form, "simulation": simulation, "offered_days": OFFERED_DAYS},
        request,
    )


def _simulated(version: PricingVersion, days: int) -> Simulation:
    start, end = last_days(days)
    return simulate(book_at(version.version, version.revision), days=days, start=start, end=end)
