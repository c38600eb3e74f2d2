"""Checks of the ledger and its anchors in the admin: to be read."""

from __future__ import annotations

from django.contrib import admin

from billing.models import LedgerAnchor, LedgerCheck
from billing.read_only_admin import ReadOnlyAdmin


@admin.register(LedgerCheck)
class LedgerCheckAdmin(ReadOnlyAdmin):
    list_display = ("finished_at", "ok", "violations", "wallets_checked", "entries_checked", "started_at")
    list_filter = ("ok",)
    ordering = ("-finished_at",)


@admin.register(LedgerAnchor)
class LedgerAnchorAdmin(ReadOnlyAdmin):
    list_display = ("as_of", "anchor_hash", "wallets", "entries", "created_at")
    ordering = ("-as_of",)
