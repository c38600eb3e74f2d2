"""Simulations in the admin: asked for on the page of their version, and listed here, to be read."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import path, reverse

from billing.models import PriceSimulation
from billing.read_only_admin import ReadOnlyAdmin
from billing.simulating import runs
from billing.simulating.section import DaysForm
from pricing.models import PricingVersion


@admin.register(PriceSimulation)
class PriceSimulationAdmin(ReadOnlyAdmin):
    list_display = (
        "created_at", "pricing_version", "pricing_revision", "days", "status", "calls_read", "calls", "asked_by",
        "started_at", "finished_at",
    )  # fmt: skip
    list_filter = ("status",)
    ordering = ("-created_at",)

    def get_urls(self) -> list[Any]:
        run = self.admin_site.admin_view(self.run)
        return [path("<uuid:version>/run/", run, name="billing_pricesimulation_run"), *super().get_urls()]

    def run(self, request: HttpRequest, version: Any) -> HttpResponse:
        """Have a version simulated, and go back to its page: it says how far that is, or what is wrong."""
        if not (request.user.has_perm("pricing.view_pricingversion") and request.user.has_perm(_EVENTS)):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        found = PricingVersion.objects.filter(pk=version).first()
        if found is None:
            raise Http404
        form = DaysForm(request.POST)
        if form.is_valid():
            runs.ask(found, days=form.cleaned_data["days"], asked_by=str(request.user.pk))
        back = reverse("admin:pricing_pricingversion_review", args=[found.pk])
        # What was typed goes along, so that the page can say what is wrong with it.
        typed = request.POST.get("days", "")[:_LONGEST_TYPED]
        return HttpResponseRedirect(f"{back}?{urlencode({'days': typed})}#simulation")


_LONGEST_TYPED = 20
_EVENTS = "billing.view_llmcallevent"
