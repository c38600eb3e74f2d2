"""Corrections in the admin: a form, a look at what it will come to, and then it is done, once.

The form's token stands for it: sent again, by a double click or the browser, it shows the entry that it made. Where
somebody else has corrected the wallet since it was looked at, it is shown once more.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse

from billing.corrections.forms import CorrectionForm
from billing.corrections.journal import described, logged
from billing.corrections.meanwhile import unless_corrected
from billing.corrections.rehearsal import Rehearsal, rehearse
from billing.corrections.services import post_once, posted_before
from billing.models import CreditTransaction, CreditWallet
from config.core.errors import DomainError, IdempotencyKeyReused
from config.core.idempotency import Claim, fingerprint
from config.core.ids import uuid7
from config.core.money import ledger_text

TEMPLATE = "admin/billing/corrections/form.html"
# Sent along, and no part of what is asked for.
_NOT_ASKED = frozenset({"csrfmiddlewaretoken", "confirmed", "seen"})
_SEQ = re.compile(r"[0-9]{1,18}")


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
    before = _made_before(request)
    if before is not None:
        return _done(request, correction, before, is_replay=True)
    form = correction.form(request.POST or None)
    if request.method != "POST" or not form.is_valid():
        return _page(request, site, correction, form)
    asked = form.asked()
    try:
        if "confirmed" not in request.POST:
            return _page(request, site, correction, form, _rehearsed(request, correction, asked))
        entry, is_replay = _perform(request, correction, form.cleaned_data["token"], asked)
    except IdempotencyKeyReused:
        form.add_error(None, "This form has been sent before, with other values, and was done then. Look once more.")
        return _page(request, site, correction, _renewed(form))
    except DomainError as refusal:
        form.add_error(None, refusal.detail)
        return _page(request, site, correction, form)
    return _done(request, correction, entry, is_replay=is_replay)


def _done(request: HttpRequest, correction: Correction, entry: CreditTransaction, *, is_replay: bool) -> HttpResponse:
    _say(request, entry, is_replay=is_replay)
    return HttpResponseRedirect(reverse("admin:billing_creditwallet_change", args=[correction.wallet.pk]))


def _made_before(request: HttpRequest) -> CreditTransaction | None:
    """What this form has made. Looked up before it is judged: a time that lay ahead when it was sent may have passed.

    One that was changed since is another matter: it is judged, and then refused for its token.
    """
    try:
        token = UUID(request.POST.get("token", ""))
        return posted_before(_claim(request, token)) if "confirmed" in request.POST else None
    except (ValueError, IdempotencyKeyReused):
        return None


def _claim(request: HttpRequest, token: UUID) -> Claim:
    """By what was sent, not by what it was read as: that does not depend on the moment."""
    sent = {name: values for name, values in request.POST.lists() if name not in _NOT_ASKED}
    staff: Any = request.user
    return Claim(staff.pk, f"admin-{token}", fingerprint(method="ADMIN", path=request.path, body=sent))


def _renewed(form: CorrectionForm) -> CorrectionForm:
    """The same form as one of its own, so that it can be gone on with."""
    data: Any = form.data
    form.data = data.copy()
    form.data["token"] = str(uuid7())  # type: ignore[index]
    return form


def _seen(request: HttpRequest) -> int | None:
    """Up to which entry of the wallet its page was of when this was looked at."""
    text = request.POST.get("seen", "")
    return int(text) if _SEQ.fullmatch(text) else None


def _rehearsed(request: HttpRequest, correction: Correction, asked: dict[str, Any]) -> Rehearsal:
    perform = partial(correction.perform, **asked, initiated_by=str(request.user.pk))
    return rehearse(correction.wallet.user_id, perform)


def _perform(
    request: HttpRequest, correction: Correction, token: UUID, asked: dict[str, Any]
) -> tuple[CreditTransaction, bool]:
    claim = _claim(request, token)
    perform = partial(correction.perform, **asked, initiated_by=str(claim.caller_id), idempotency_key=claim.key)
    make = logged(perform, title=correction.title, actor=str(claim.caller_id))
    return post_once(claim, unless_corrected(make, user_id=correction.wallet.user_id, since=_seen(request)))


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
