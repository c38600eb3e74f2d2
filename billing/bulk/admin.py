"""The admin's page for a bulk grant: upload, a look at who gets it, confirm, and what exactly was done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.template.response import TemplateResponse

from billing.bulk.forms import BulkGrantForm
from billing.bulk.performing import perform
from billing.bulk.planning import WORDS, Judged, judge
from billing.models import CreditWallet
from config.core.money import ledger_text

TEMPLATE = "admin/billing/bulk/page.html"
PERMISSIONS = ("billing.add_creditgrant", "billing.view_creditwallet")


def run(request: HttpRequest, site: admin.AdminSite) -> TemplateResponse:
    """Show the form, the plan, the result. Sent twice it grants once. Raises: PermissionDenied."""
    if not request.user.has_perms(PERMISSIONS):
        raise PermissionDenied
    form = BulkGrantForm(request.POST or None, request.FILES or None)
    if request.method != "POST" or not form.is_valid():
        return _page(request, site, form, step="form", status=422 if form.is_bound else 200)
    campaign = form.campaign_asked()
    rows = judge(form.rows, campaign=campaign.name)
    if "confirmed" not in request.POST:
        return _page(request, site, form, step="plan", rows=rows)
    done = perform(campaign, rows, actor=str(request.user.pk))
    return _page(request, site, form, step="done", rows=done.rows, left=done.left)


def _page(
    request: HttpRequest, site: admin.AdminSite, form: BulkGrantForm, *, step: str, rows: Sequence[Judged] = (),
    left: int = 0, status: int = 200,
) -> TemplateResponse:  # fmt: skip
    counts = [
        {"verdict": verdict, "words": words, "count": sum(row.verdict == verdict for row in rows)}
        for verdict, words in WORDS.items()
    ]
    granting = sum(row.verdict in {"grant", "granted"} for row in rows)
    context: dict[str, Any] = {
        **site.each_context(request),
        "title": "Bulk grant",
        "opts": CreditWallet._meta,
        "form": form,
        "media": form.media,
        "step": step,
        "rows": rows,
        "counts": [one for one in counts if one["count"]],
        "left": left,
    }
    if step != "form":
        campaign = form.campaign_asked()
        context |= {
            "campaign": campaign,
            "amount": ledger_text(campaign.amount),
            "total": ledger_text(campaign.amount * granting),
            "granting": granting,
            "confirming": _hidden(form),
        }
    return TemplateResponse(request, TEMPLATE, context, status=status)


def _hidden(form: BulkGrantForm) -> list[tuple[str, str]]:
    """What the form said, for the next one: the list itself in place of the file."""
    data = {name: form.data.get(name, "") for name in ("amount", "kind", "campaign", "reason")}
    data |= {name: form.data.get(name, "") for name in ("expires_at_0", "expires_at_1")}
    return [*data.items(), ("content", form.cleaned_data["content"])]
