"""Corrections in the admin: a form, a look at what it will come to, and then it is done, once.

The form's token stands for it: sent again, by a double click or the browser, it shows the entry that it made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse

from billing.corrections.forms import CorrectionForm
from billing.corrections.journal import described, logged
from billing.corrections.rehearsal import Rehearsal, rehearse
from billing.corrections.services import post_once
from billing.models import CreditTransaction, CreditWallet
from config.core.errors import DomainError
from config.core.idempotency import Claim, fingerprint
from config.core.money import ledger_text

TEMPLATE = "admin/billing/corrections/form.html"


@dataclass(frozen=True)
class Correction:
    """One correction of one wallet, as the page about it needs it.

    `perform` does it, and gets the actor and the key.
    """

    title: str
    permission: str
    form: Callable[..., CorrectionForm]
    wallet: CreditWallet
    back: str
    perform: Callable[..., UUID]
    facts: tuple[tuple[str, str], ...] = ()


def run(request: HttpRequest, site: admin.AdminSite, correction: Correction) -> HttpResponseBase:
    """Show the form, show what it comes to, do it. Raises: PermissionDenied."""
    if not request.user.has_perm(correction.permission):
        raise PermissionDenied
    form = correction.form(request.POST or None)
    if request.method != "POST" or not form.is_valid():
        return _page(request, site, correction, form)
    asked = form.asked()
    try:
        if "confirmed" not in request.POST:
            return _page(request, site, correction, form, _rehearsed(request, correction, asked))
        entry, is_replay = _perform(request, correction, form.cleaned_data["token"], asked)
    except DomainError as refusal:
        form.add_error(None, refusal.detail)
        return _page(request, site, correction, form)
    _say(request, entry, is_replay=is_replay)
    return HttpResponseRedirect(reverse("admin:billing_creditwallet_change", args=[correction.wallet.pk]))


def _rehearsed(request: HttpRequest, correction: Correction, asked: dict[str, Any]) -> Rehearsal:
    perform = partial(correction.perform, **asked, initiated_by=str(request.user.pk))
    return rehearse(correction.wallet.user_id, perform)


def _perform(
    request: HttpRequest, correction: Correction, token: UUID, asked: dict[str, Any]
) -> tuple[CreditTransaction, bool]:
    key = f"admin-{token}"
    print_ = fingerprint(method="ADMIN", path=request.path, body=asked)
    staff: Any = request.user
    claim = Claim(caller_id=staff.pk, key=key, fingerprint=print_)
    perform = partial(correction.perform, **asked, initiated_by=str(staff.pk), idempotency_key=key)
    return post_once(claim, logged(perform, title=correction.title, actor=str(staff.pk)))


def _say(request: HttpRequest, entry: CreditTransaction, *, is_replay: bool) -> None:
    done = described(entry)
    if is_replay:
        messages.warning(request, f"This form had been sent already: {done}, entry {entry.seq}, was made once.")
        return
    messages.success(request, f"{done}: the balance is {ledger_text(entry.balance_after)}.")


def _shown(value: Any) -> str:
    """A value of a filled-in form as people read it."""
    if isinstance(value, (list, tuple)):
        value = ", ".join(value)
    if isinstance(value, Decimal):
        return ledger_text(value)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M} UTC"
    return "–" if value in (None, "") else str(value)


def _page(
    request: HttpRequest, site: admin.AdminSite, correction: Correction, form: CorrectionForm,
    preview: Rehearsal | None = None,
) -> TemplateResponse:  # fmt: skip
    values = form.cleaned_data if form.is_bound else {}
    context = {
        **site.each_context(request),
        "title": correction.title,
        "form": form,
        "fields": [(field, _shown(values.get(field.name))) for field in form.visible_fields()],
        "preview": preview,
        "facts": correction.facts,
        "wallet": correction.wallet,
        "back": correction.back,
        "opts": CreditWallet._meta,
    }
    return TemplateResponse(request, TEMPLATE, context, status=200 if form.is_valid() or not form.is_bound else 422)
