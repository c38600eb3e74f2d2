"""The admin's page for a bulk grant: upload, a look at who gets it, confirm, and what exactly was done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.template.response import TemplateResponse

from billing.bulk.forms import BulkGrantForm
from billing.bulk.performing import Run
from billing.bulk.planning import Judged, counted, judge
from billing.bulk.progress import MARK, stream
from billing.models import CreditWallet
from config.core.money import ledger_text

TEMPLATE = "admin/billing/bulk/page.html"
PERMISSIONS = ("billing.add_creditgrant", "billing.view_creditwallet")


def run(request: HttpRequest, site: admin.AdminSite) -> HttpResponseBase:
    """Show the form, the plan, the result. Sent twice it grants once. Raises: PermissionDenied."""
    if not request.user.has_perms(PERMISSIONS):
        raise PermissionDenied
    form = BulkGrantForm(request.POST or None, request.FILES or None)
    if request.method != "POST" or not form.is_valid():
        context = _context(request, site, form, step="form")
        return TemplateResponse(request, TEMPLATE, context, status=422 if form.is_bound else 200)
    campaign = form.campaign_asked()
    rows = judge(form.rows, campaign=campaign.name)
    if "confirmed" not in request.POST:
        return TemplateResponse(request, TEMPLATE, _context(request, site, form, step="plan", rows=rows))
    page = render_to_string(TEMPLATE, _context(request, site, form, step="run", rows=rows), request)
    before, _, after = page.partition(MARK)
    return stream(Run(campaign, rows, actor=str(request.user.pk)), before=before, after=after)


def _context(
    request: HttpRequest, site: admin.AdminSite, form: BulkGrantForm, *, step: str, rows: Sequence[Judged] = ()
) -> dict[str, Any]:
    context: dict[str, Any] = {
        **site.each_context(request),
        "title": "Bulk grant",
        "opts": CreditWallet._meta,
        "form": form,
        "media": form.media,
        "step": step,
    }
    if step == "form":
        return context
    campaign = form.campaign_asked()
    granting = sum(row.verdict == "grant" for row in rows)
    return context | {
        "mark": MARK,
        "rows": rows,
        "counts": counted(rows),
        "campaign": campaign,
        "amount": ledger_text(campaign.amount),
        "total": ledger_text(campaign.amount * granting),
        "granting": granting,
        "confirming": _hidden(form),
    }


def _hidden(form: BulkGrantForm) -> list[tuple[str, str]]:
    """What the form said, for the next one: the list itself in place of the file."""
    data = {name: form.data.get(name, "") for name in ("amount", "kind", "campaign", "reason")}
    data |= {name: form.data.get(name, "") for name in ("expires_at_0", "expires_at_1")}
    return [*data.items(), ("content", form.cleaned_data["content"])]
