"""Wallets, entries and grants in the admin: read-only, with the corrections that staff may make beside them."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Abs
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from billing import ledger
from billing.bulk import admin as bulk_admin
from billing.corrections import forms, services
from billing.corrections.admin_actions import Correction, run
from billing.corrections.desk import find
from billing.corrections.wallet_page import wallet_context, work_behind
from billing.ledger import Reference
from billing.models import CreditAllocation, CreditGrant, CreditTransaction, CreditWallet
from billing.read_only_admin import GrowingTableAdmin
from config.core.money import ledger_text
from users.models import User
from users.staff_log import ADDITION, record

_CHANGE = "admin:billing_{}_change"


class _WithActions(GrowingTableAdmin):
    """`actions_of` names the corrections that may be made from a row's page: (label, URL name, permission)."""

    change_form_template = "admin/billing/corrections/change_form.html"
    corrections: tuple[tuple[str, str, str], ...] = ()

    def actions_of(self, request: HttpRequest, row: Any) -> list[dict[str, str]]:
        return [
            {"label": label, "url": reverse(f"admin:{name}", args=[row.pk])}
            for label, name, permission in self.corrections
            if request.user.has_perm(permission)
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        found = {} if row is None else {"corrections": self.actions_of(request, row), **self.more(request, row)}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **found})

    def more(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        return {}

    def action_urls(self, *actions: tuple[str, Any]) -> list[URLPattern]:
        """`<uuid>/<last word of the name>/` for each."""
        return [
            path(f"<uuid:pk>/{name.rpartition('_')[2]}/", self.admin_site.admin_view(view), name=name)
            for name, view in actions
        ]


@admin.register(CreditWallet)
class WalletAdmin(_WithActions):
    list_display = ("owner", "balance", "held", "last_seq", "next_expiry_at", "updated_at")
    find_by = ("user_id", "id")
    search_help_text = "user (id or e-mail), or wallet id"
    change_form_template = "admin/billing/creditwallet/change_form.html"
    change_list_template = "admin/billing/creditwallet/change_list.html"
    corrections = (
        ("Grant credits", "billing_creditwallet_grant", "billing.add_creditgrant"),
        ("Adjust balance", "billing_creditwallet_adjust", "billing.add_credittransaction"),
    )

    def more(self, request: HttpRequest, row: CreditWallet) -> dict[str, Any]:
        return wallet_context(row, user=request.user, query=request.GET)

    def get_urls(self) -> list[Any]:
        actions = (("billing_creditwallet_grant", self.grant), ("billing_creditwallet_adjust", self.adjust))
        pages = (
            ("desk/", self.desk, "desk"),
            ("desk/<uuid:user_id>/", self.open_wallet, "open"),
            ("bulk/", self.bulk, "bulk"),
        )
        own = [
            path(url, self.admin_site.admin_view(view), name=f"billing_creditwallet_{name}")
            for url, view, name in pages
        ]
        return [*own, *self.action_urls(*actions), *super().get_urls()]

    def desk(self, request: HttpRequest) -> HttpResponseBase:
        """Find somebody. Whoever may look at wallets may look for their owners."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        text = request.GET.get("q", "")
        found, has_more = find(text)
        context = {
            **self.admin_site.each_context(request), "title": "Wallet desk", "opts": self.opts, "q": text,
            "found": found, "has_more": has_more, "may_grant": request.user.has_perm("billing.add_creditgrant"),
        }  # fmt: skip
        return TemplateResponse(request, "admin/billing/creditwallet/desk.html", context)

    def open_wallet(self, request: HttpRequest, user_id: UUID) -> HttpResponseBase:
        """A user's wallet; with POST it is made where there is none, as the user's first turn would."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if not User.objects.filter(pk=user_id).exists():
            raise Http404
        wallet = CreditWallet.objects.filter(user_id=user_id).first()
        if wallet is None:
            if request.method != "POST":
                return HttpResponseRedirect(f"{reverse('admin:billing_creditwallet_desk')}?q={user_id}")
            if not request.user.has_perm("billing.add_creditgrant"):
                raise PermissionDenied
            with transaction.atomic():
                ledger.get_or_create_wallet(user_id=user_id)
                wallet = _wallet(user_id=user_id)
                record(wallet, "Wallet opened.", actor=request.user.pk, flag=ADDITION)
        return HttpResponseRedirect(_page_of(wallet))

    def bulk(self, request: HttpRequest) -> HttpResponseBase:
        return bulk_admin.run(request, self.admin_site)

    def grant(self, request: HttpRequest, pk: UUID) -> HttpResponseBase:
        wallet = _wallet(id=pk)
        correction = Correction(
            title="Grant credits", permission="billing.add_creditgrant", form=forms.GrantForm, wallet=wallet,
            back=_page_of(wallet), perform=partial(ledger.grant, user_id=wallet.user_id),
        )  # fmt: skip
        return run(request, self.admin_site, correction)

    def adjust(self, request: HttpRequest, pk: UUID) -> HttpResponseBase:
        wallet = _wallet(id=pk)
        correction = Correction(
            title="Adjust balance", permission="billing.add_credittransaction", form=forms.AdjustForm, wallet=wallet,
            back=_page_of(wallet), perform=partial(ledger.adjust, user_id=wallet.user_id),
        )  # fmt: skip
        return run(request, self.admin_site, correction)


@admin.register(CreditTransaction)
class TransactionAdmin(_WithActions):
    list_display = ("created_at", "owner", "seq", "kind", "amount", "balance_after", "reason", "initiated_by")
    search_filters = ("kind",)
    find_by = ("user_id", "reference_id", "id")
    keyset_of_user = ("created_at", "id")
    search_help_text = "user (id or e-mail), entry id, or id of a turn, completion, lot or entry"
    change_form_template = "admin/billing/credittransaction/change_form.html"
    corrections = (("Refund", "billing_credittransaction_refund", "billing.add_credittransaction"),)

    def actions_of(self, request: HttpRequest, row: CreditTransaction) -> list[dict[str, str]]:
        return super().actions_of(request, row) if row.kind == CreditTransaction.Kind.DEBIT else []

    def get_urls(self) -> list[Any]:
        return [*self.action_urls(("billing_credittransaction_refund", self.refund)), *super().get_urls()]

    def more(self, request: HttpRequest, row: CreditTransaction) -> dict[str, Any]:
        moved = Abs(F("amount"))
        return {
            "allocations": CreditAllocation.objects.filter(entry=row).annotate(moved=moved).select_related("grant"),
            "links": work_behind(row, user=request.user),
            "is_taken": row.amount < 0,
        }

    def refund(self, request: HttpRequest, pk: UUID) -> HttpResponseBase:
        debit = CreditTransaction.objects.filter(id=pk, kind=CreditTransaction.Kind.DEBIT).first()
        if debit is None:
            raise Http404
        turn_id = debit.reference_id if debit.reference_type == "turn" else None
        targets = {"entry": Reference("entry", debit.id)} | ({"turn": Reference("turn", turn_id)} if turn_id else {})
        left = {name: services.refundable(debit.user_id, reference) for name, reference in targets.items()}

        def perform(*, what: str, **asked: Any) -> UUID:
            return ledger.refund(user_id=debit.user_id, reference=targets[what], **asked)

        facts = [("Taken by this debit", ledger_text(-debit.amount))]
        facts += [(f"Left to refund of {_NAMES[name]}", ledger_text(amount)) for name, amount in left.items()]
        correction = Correction(
            title="Refund", permission="billing.add_credittransaction",
            form=partial(forms.RefundForm, turn_id=turn_id), wallet=_wallet(user_id=debit.user_id),
            back=reverse(_CHANGE.format("credittransaction"), args=[debit.pk]), facts=tuple(facts), perform=perform,
        )  # fmt: skip
        return run(request, self.admin_site, correction)


_NAMES = {"entry": "it", "turn": "its turn"}


@admin.register(CreditGrant)
class GrantAdmin(_WithActions):
    list_display = (
        "created_at", "owner", "kind", "amount", "remaining", "priority", "expires_at", "campaign", "aliases",
        "voided_at",
    )  # fmt: skip
    search_filters = ("kind",)
    find_by = ("user_id", "id")
    keyset_of_user = ("created_at", "id")
    search_help_text = "user (id or e-mail), or grant id"
    corrections = (("Void", "billing_creditgrant_void", "billing.change_creditgrant"),)

    def actions_of(self, request: HttpRequest, row: CreditGrant) -> list[dict[str, str]]:
        return super().actions_of(request, row) if row.remaining > 0 else []

    def get_urls(self) -> list[Any]:
        return [*self.action_urls(("billing_creditgrant_void", self.void)), *super().get_urls()]

    def void(self, request: HttpRequest, pk: UUID) -> HttpResponseBase:
        grant = CreditGrant.objects.filter(id=pk).first()
        if grant is None:
            raise Http404
        facts = (("Given", f"{ledger_text(grant.amount)} ({grant.kind})"), ("Remains", ledger_text(grant.remaining)))
        correction = Correction(
            title="Void grant", permission="billing.change_creditgrant", form=forms.VoidForm,
            wallet=_wallet(user_id=grant.user_id), back=reverse(_CHANGE.format("creditgrant"), args=[grant.pk]),
            facts=facts, perform=partial(ledger.void, user_id=grant.user_id, grant_id=grant.id),
        )  # fmt: skip
        return run(request, self.admin_site, correction)


def _wallet(**where: Any) -> CreditWallet:
    wallet = CreditWallet.objects.filter(**where).first()
    if wallet is None:
        raise Http404
    return wallet


def _page_of(wallet: CreditWallet) -> str:
    return reverse(_CHANGE.format("creditwallet"), args=[wallet.pk])
