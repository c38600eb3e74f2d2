"""Refusals in the admin: said on the page where they happened, whatever of the form was filled in by then."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.db import OperationalError
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase

from config.core.errors import DomainError, WalletBusy
from config.core.transactions import CONTENDED_SQLSTATES, sqlstate


def or_said(request: HttpRequest, view: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    """What `view` answers; where it refuses, or a wallet is busy, the page again with that as its message."""
    try:
        return view()
    except DomainError as refusal:
        detail = refusal.detail
    except OperationalError as error:
        if sqlstate(error) not in CONTENDED_SQLSTATES:
            raise
        detail = WalletBusy().detail
    messages.error(request, detail)
    return HttpResponseRedirect(request.get_full_path())
