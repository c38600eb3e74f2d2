"""Which pages there are: every list of the admin as it is used, a row of each, the desk's tabs, the reports by REST."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import quote

from django.contrib import admin
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.desk.registry import reports
from billing.models import CreditGrant, CreditTransaction, CreditWallet, LLMCallEvent, UsageMonth, UsageTotal
from config.core.admin_lists import KeysetAdmin
from pricing import drafting
from pricing.models import PricingVersion
from sessions_app.models import Turn
from users.models import User

DRAFT = "next-as-measured"
API = "/api/v1"
GROUPS = ("Cost desk", "REST", "Wallet desk", "Price versions", "Lists", "Rows")


@dataclass(frozen=True, slots=True)
class Page:
    group: str
    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Subjects:
    """Whom the pages are of: the user with the most calls, and rows of theirs."""

    user: User
    wallet: CreditWallet
    debit: CreditTransaction
    lot: CreditGrant
    turn: Turn
    draft: PricingVersion

    @classmethod
    def found(cls, staff: User) -> Subjects:
        of_all = UsageMonth.objects.filter(subject=UsageMonth.Subject.USER, model_alias="*")
        user = User.objects.get(pk=of_all.order_by("-calls").values_list("user_id", flat=True)[0])
        wallet = CreditWallet.objects.get(user_id=user.pk)
        draft = PricingVersion.objects.filter(version=DRAFT).first()
        return cls(
            user, wallet, CreditTransaction.objects.filter(wallet=wallet, kind="debit").latest("seq"),
            CreditGrant.objects.filter(user_id=user.pk).latest("id"), Turn.objects.filter(user_id=user.pk).latest("id"),
            draft or drafting.make_draft(version=DRAFT, actor=str(staff.pk), fields={"divisor": "90000"}),
        )  # fmt: skip


def every_page(browser: Client, staff: User) -> Iterator[Page]:
    of = Subjects.found(staff)
    yield from _lists(browser, of)
    yield from _wallet_desk(of)
    yield from _prices(of)
    yield from _cost_desk(of)
    yield from _rest(of)


def _lists(browser: Client, of: Subjects) -> Iterator[Page]:
    for model, page in sorted(admin.site._registry.items(), key=lambda one: one[0]._meta.label_lower):
        if model is UsageTotal:
            continue
        label = model._meta.label_lower
        url = reverse(f"admin:{label.replace('.', '_')}_changelist")
        yield Page("Lists", label, url)
        for name, more in _ways(browser, url, page, of):
            yield Page("Lists", f"{label}, {name}", url + more)
        row = of.user if model is User else model._default_manager.order_by("-pk").first()
        if row is not None:
            for action in ("change", "history"):
                path = reverse(f"admin:{label.replace('.', '_')}_{action}", args=[row.pk])
                yield Page("Rows", f"{label}, {action}", path)


def _ways(browser: Client, url: str, page: Any, of: Subjects) -> Iterator[tuple[str, str]]:
    """A list's next page, a search for a user, what is found of that user by a filter, and the page after."""
    if not isinstance(page, KeysetAdmin):
        return
    if older := _older(browser, url):
        yield "older", older
    search = f"?q={quote('person-0' if page.model is User else of.user.email)}"
    if not {"user", "user_id", "email"} & set(page.find_by):
        return
    yield "of a user", search
    if older := _older(browser, url + search):
        yield "of a user, older", older
    for name, choice in _filters(browser, url + search):
        yield f"of a user, by {name}", f"{search}&{choice}"


def _older(browser: Client, url: str) -> str | None:
    found = re.search(r'<a href="([^"]+)" rel="next">', _text(browser, url))
    return found[1] if found else None


def _filters(browser: Client, url: str) -> Iterator[tuple[str, str]]:
    """The last choice of each filter, which is the rarest as often as not."""
    for title, choices in re.findall(r'data-filter-title="([^"]+)"(.*?)</details>', _text(browser, url), re.DOTALL):
        last = re.findall(r'href="\?([^"]*)"', choices)[-1]
        yield title, "&".join(part for part in last.split("&") if not part.startswith("q="))


def _text(browser: Client, url: str) -> str:
    return unescape(browser.get(url).content.decode())


def _wallet_desk(of: Subjects) -> Iterator[Page]:
    desk = reverse("admin:billing_creditwallet_desk")
    wallet = reverse("admin:billing_creditwallet_change", args=[of.wallet.pk])
    yield Page("Wallet desk", "search by the beginning of an address", f"{desk}?q=person-00")
    yield Page("Wallet desk", "search by an id", f"{desk}?q={of.user.pk}")
    yield Page("Wallet desk", "a wallet", wallet)
    yield Page("Wallet desk", "a wallet, entries of long ago", f"{wallet}?before=100")
    for name in ("grant", "adjust"):
        yield Page("Wallet desk", name, reverse(f"admin:billing_creditwallet_{name}", args=[of.wallet.pk]))
    yield Page("Wallet desk", "refund", reverse("admin:billing_credittransaction_refund", args=[of.debit.pk]))
    yield Page("Wallet desk", "void", reverse("admin:billing_creditgrant_void", args=[of.lot.pk]))
    yield Page("Wallet desk", "a turn's bill", reverse("admin:sessions_app_turn_bill", args=[of.turn.pk]))
    yield Page("Wallet desk", "grants from a CSV", reverse("admin:billing_creditwallet_bulk"))


def _prices(of: Subjects) -> Iterator[Page]:
    for name in ("change", "review", "clone"):
        url = reverse(f"admin:pricing_pricingversion_{name}", args=[of.draft.pk])
        yield Page("Price versions", f"a draft: {name}", url)
    yield Page("Price versions", "history", reverse("admin:pricing_pricingversion_history", args=[of.draft.pk]))


def _cost_desk(of: Subjects) -> Iterator[Page]:
    url = reverse("admin:billing_usagetotal_changelist")
    today = timezone.now().date()
    for report in reports():
        for span, (first, last) in _spans(today).items():
            asked = f"{url}?report={report.name}&tz=Asia/Kathmandu&first={first}&last={last}"
            yield Page("Cost desk", f"{report.title}, {span}", asked)
        asked = f"{url}?report={report.name}&first={today - timedelta(days=89)}"
        yield Page("Cost desk", f"{report.title}, of one user", f"{asked}&user={quote(of.user.email)}")
        yield Page("Cost desk", f"{report.title}, of one alias", f"{asked}&alias={_alias()}")


def _spans(today: date) -> dict[str, tuple[date, date]]:
    month = today.replace(day=1) - timedelta(days=1)
    return {
        "90 days": (today - timedelta(days=89), today),
        "30 days": (today - timedelta(days=29), today),
        "5th to 25th of last month": (month.replace(day=5), month.replace(day=25)),
    }


def _alias() -> str:
    found = LLMCallEvent.objects.order_by("-id").values_list("model_alias", flat=True).first()
    return quote(str(found))


def _rest(of: Subjects) -> Iterator[Page]:
    now = timezone.now()
    summary = f"{API}/admin/usage/summary?{_since(now, 90)}"
    yield Page("REST", "summary, 90 days by alias", summary)
    for group in ("purpose", "user", "room", "agent"):
        yield Page("REST", f"summary, 90 days by {group}", f"{summary}&group_by={group}")
    yield Page("REST", "summary, 30 days by hour", f"{API}/admin/usage/summary?{_since(now, 30)}&bucket=hour")
    users = f"{API}/admin/analytics/active-users?{_since(now, 90)}"
    yield Page("REST", "active users, 90 days by day", users)
    yield Page("REST", "active users, 90 days by month", f"{users}&bucket=month")
    yield Page("REST", "a user's wallet, for staff", f"{API}/admin/wallets/{of.user.pk}")
    yield Page("REST", "prices", f"{API}/admin/pricing")
    yield Page("REST", "price versions", f"{API}/admin/pricing/versions")
    yield Page("REST", "what a draft changes", f"{API}/admin/pricing/versions/{of.draft.version}/diff")
    yield Page("REST", "refusals that warn let through", f"{API}/admin/settings/enforcement/shadow")


def _since(now: datetime, days: int) -> str:
    return f"from={quote((now - timedelta(days=days)).isoformat())}&to={quote(now.isoformat())}"
