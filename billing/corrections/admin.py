"""Wallets, entries and grants in the admin: read-only, with the corrections that staff may make beside them."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse

from billing import ledger
from billing.corrections import forms, services
from billing.corrections.admin_actions import Correction, run
from billing.corrections.wallet_page import wallet_context
from billing.ledger import Reference
from billing.models import CreditGrant, CreditTransaction, CreditWallet
from billing.read_only_admin import ReadOnlyAdmin
from config.core.money import ledger_text

_CHANGE = "admin:billing_{}_change"


class _WithActions(ReadOnlyAdmin):
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
        found = {} if row is None else {"corrections": self.actions_of(request, row), **self.more(row)}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **found})

    def more(self, row: Any) -> dict[str, Any]:
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
    search_fields = ("=user_id",)
    search_help_text = "user id"
    ordering = ("-id",)
    change_form_template = "admin/billing/creditwallet/change_form.html"
    corrections = (
        ("Grant credits", "billing_creditwallet_grant", "billing.add_creditgrant"),
        ("Adjust balance", "billing_creditwallet_adjust", "billing.add_credittransaction"),
    )

    def more(self, row: CreditWallet) -> dict[str, Any]:
        return wallet_context(row)

    def get_urls(self) -> list[Any]:
        actions = (("billing_creditwallet_grant", self.grant), ("billing_creditwallet_adjust", self.adjust))
        return [*self.action_urls(*actions), *super().get_urls()]

    def grant(self, request: HttpRequest, pk: UUID) -> HttpResponseBase:
        wallet = _wallet(id=pk)
        correction = Correction(
            title="Grant credits", permission="billing.add_creditgrant", form=forms.GrantForm, wallet=wallet,
            back=_page_of(wallet), moves=lambda asked: asked["amount"],
            perform=partial(ledger.grant, user_id=wallet.user_id),
        )  # fmt: skip
        return run(request, self.admin_site, correction)

    def adjust(self, request: HttpRequest, pk: UUID) -> HttpResponseBase:
        wallet = _wallet(id=pk)
        correction = Correction(
            title="Adjust balance", permission="billing.add_credittransaction", form=forms.AdjustForm, wallet=wallet,
            back=_page_of(wallet), moves=lambda asked: asked["amount"],
            perform=partial(ledger.adjust, user_id=wallet.user_id),
        )  # fmt: skip
        return run(request, self.admin_site, correction)


@admin.register(CreditTransaction)
class TransactionAdmin(_WithActions):
    list_display = ("created_at", "owner", "seq", "kind", "amount", "balance_after", "reason", "initiated_by")
    list_filter = ("kind",)
    search_fields = ("=user_id", "=reference_id")
    search_help_text = "user id or reference id"
    ordering = ("-id",)
    corrections = (("Refund", "billing_credittransaction_refund", "billing.add_credittransaction"),)

    def actions_of(self, request: HttpRequest, row: CreditTransaction) -> list[dict[str, str]]:
        return super().actions_of(request, row) if row.kind == CreditTransaction.Kind.DEBIT else []

    def get_urls(self) -> list[Any]:
        return [*self.action_urls(("billing_credittransaction_refund", self.refund)), *super().get_urls()]

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
            back=reverse(_CHANGE.format("credittransaction"), args=[debit.pk]), facts=tuple(facts),
            moves=lambda asked: services.ensure_refundable(asked.get("amount"), left[asked["what"]]), perform=perform,
        )  # fmt: skip
        return run(request, self.admin_site, correction)


_NAMES = {"entry": "it", "turn": "its turn"}


@admin.register(CreditGrant)
class GrantAdmin(_WithActions):
    list_display = (
        "created_at", "owner", "kind", "amount", "remaining", "priority", "expires_at", "campaign", "aliases",
        "voided_at",
    )  # fmt: skip
    list_filter = ("kind",)
    search_fields = ("=user_id", "campaign")
    ordering = ("-id",)
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
            facts=facts, moves=lambda _: -grant.remaining,
            perform=partial(ledger.void, user_id=grant.user_id, grant_id=grant.id),
        )  # fmt: skip
        return run(request, self.admin_site, correction)


def _wallet(**where: Any) -> CreditWallet:
    wallet = CreditWallet.objects.filter(**where).first()
    if wallet is None:
        raise Http404
    return wallet


def _page_of(wallet: CreditWallet) -> str:
    return reverse(_CHANGE.format("creditwallet"), args=[wallet.pk])
