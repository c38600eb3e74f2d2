"""The desk's page in the admin: a form, the reports as tabs, and each of their tables as CSV."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from billing.csv_export import csv_text
from billing.desk.charts import draw
from billing.desk.forms import DeskForm, presets
from billing.desk.pieces import Asked, Report, Shown, Table
from billing.desk.registry import reports
from billing.models import UsageTotal
from billing.read_only_admin import ReadOnlyAdmin
from billing.reports.csv_answers import CSV_GROUPS_MAX
from billing.reports.moments import one_moment
from billing.reports.views import PERMISSION
from billing.serializers import zones

SHOWN = 20


@admin.register(UsageTotal)
class DeskAdmin(ReadOnlyAdmin):
    """Who may see events may see what they come to."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm(PERMISSION))

    def get_urls(self) -> list[Any]:
        """The page alone: a row of the rollup is nothing to look at."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_changelist"
        return [url for url in super().get_urls() if url.name == name]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        report = _report(request.GET.get("report", ""))
        form = DeskForm(request.GET)
        if not form.is_valid():
            return self._page(request, form, report, None)
        if wanted := request.GET.get("csv"):
            return _csv(_made(report, form.asked(limit=CSV_GROUPS_MAX)), wanted, form)
        return self._page(request, form, report, _made(report, form.asked(limit=SHOWN)))

    def _page(self, request: HttpRequest, form: DeskForm, report: Report, shown: Shown | None) -> TemplateResponse:
        here = _linker(form)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Costs and usage: {report.title}",
            "opts": self.opts,
            "form": form,
            "report": report,
            "shown": shown,
            "tabs": [(tab.title, here(report=tab.name), tab is report) for tab in reports()],
            "presets": _presets(form, report),
            "blocks": [
                (block.table, list(map(draw, block.charts)), here(report=report.name, csv=block.table.name))
                for block in (shown.blocks if shown else ())
            ],
            "zones": sorted(zones()),
            "span": _span(form),
        }  # fmt: skip
        template = "admin/billing/desk/page.html"
        return TemplateResponse(request, template, context, status=200 if form.is_valid() else 422)


def _report(name: str) -> Report:
    known = reports()
    if not name:
        return known[0]
    for report in known:
        if report.name == name:
            return report
    raise Http404


def _made(report: Report, asked: Asked) -> Shown:
    with one_moment():
        return report.make(asked)


def _csv(shown: Shown, wanted: str, form: DeskForm) -> HttpResponse:
    table = next((block.table for block in shown.blocks if block.table.name == wanted), None)
    if table is None:
        raise Http404
    span = f"{form.cleaned_data['first']}-{form.cleaned_data['last']}"
    response = HttpResponse(csv_text([_heads(table), *table.rows]), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{table.name}-{span}.csv"'
    return response


def _heads(table: Table) -> list[str]:
    return [name for name, _ in table.head()]


def _linker(form: DeskForm) -> Callable[..., str]:
    """Links that keep what the form asks for."""
    kept = {name: form.data[name] for name in form.fields if form.data.get(name)}
    return lambda **more: "?" + urlencode({**kept, **more})


def _presets(form: DeskForm, report: Report) -> list[tuple[str, str, bool]]:
    """Each keeps the zone and the filters, and lets the bucket fit."""
    cleaned = getattr(form, "cleaned_data", {})
    now = timezone.now()
    today = (now.astimezone(cleaned["tz"]) if cleaned.get("tz") else now).date()
    kept = {name: form.data[name] for name in ("tz", "user", "alias") if form.data.get(name)}
    return [
        (
            name, "?" + urlencode({**kept, "report": report.name, "first": first, "last": last}),
            (cleaned.get("first"), cleaned.get("last")) == (first, last),
        )
        for name, first, last in presets(today)
    ]  # fmt: skip


def _span(form: DeskForm) -> str:
    if not form.is_valid():
        return ""
    cleaned = form.cleaned_data
    said = [f"{cleaned['first']} to {cleaned['last']}", cleaned["tz"].key, form.data.get("user"), cleaned["alias"]]
    return ", ".join(filter(None, said))
