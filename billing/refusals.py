"""Refusals in the admin: said on the page where they happened, whatever of the form was filled in by then."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.db import OperationalError
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase

from billing.errors import WalletBusy
from config.core.errors import DomainError
from config.core.transactions import LOCK_TIMEOUT_SQLSTATE, sqlstate


def or_said(request: HttpRequest, view: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    """What `view` answers; where it refuses, or a wallet is busy, the page again with that as its message."""
    try:
        return view()
    except DomainError as refusal:
        detail = refusal.detail
    except OperationalError as error:
        if sqlstate(error) != LOCK_TIMEOUT_SQLSTATE:
            raise
        detail = WalletBusy().detail
    messages.error(request, detail)
    return HttpResponseRedirect(request.get_full_path())
