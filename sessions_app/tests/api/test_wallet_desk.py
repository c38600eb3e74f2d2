"""The wallet desk: from an address to a wallet, and from an entry to the turn that it is for."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from billing import ledger
from billing.ledger import Reference
from billing.models import CreditGrant, CreditTransaction, CreditWallet
from billing.tests.makers import credits, make_call, make_hold, settle, share
from config.core.ids import uuid7
from config.core.money import ledger_text
from pricing.rating import TokenPools
from sessions_app.tests.makers import make_ended_turn, make_person, make_session
from users import roles
from users.models import User

pytestmark = pytest.mark.django_db
DESK = "/admin/billing/creditwallet/desk/"


def browser_of(person):
    client = Client()
    client.force_login(User.objects.get(pk=person.id))
    return client


@pytest.fixture
def browser():
    return browser_of(make_person("boss", is_staff=True, is_superuser=True))


@pytest.fixture
def helpdesk():
    person = make_person("helpdesk", is_staff=True)
    User.objects.get(pk=person.id).groups.add(Group.objects.get(name=roles.SUPPORT))
    return browser_of(person)


def wallet_of(person):
    return CreditWallet.objects.get(user_id=person.id)


def make_turn_with_a_bill(person):
    turn = make_ended_turn(person, make_session(person, "ann"), user_input="a private question")
    reference = Reference("turn", turn.id)
    ledger.place_hold(user_id=person.id, reference=reference, shares=[share("0")], enforcement="off")
    settle(person.id, reference, make_call(TokenPools(output=10_000), turn_id=turn.id))
    return turn


def test_a_wallet_is_found_by_address_and_by_any_of_its_ids(browser):
    alice, bob = make_person("alice"), make_person("bob")
    lot = CreditGrant.objects.get(user_id=alice.id)
    entry = CreditTransaction.objects.get(user_id=alice.id)
    page = f"/admin/billing/creditwallet/{wallet_of(alice).pk}/change/"
    for text in (
        alice.email,
        alice.email[:12].upper(),
        alice.id,
        wallet_of(alice).pk,
        lot.pk,
        entry.pk,
        f" {alice.id} ",
    ):
        found = browser.get(DESK, {"q": text}).content.decode()
        assert page in found, text
        assert bob.email not in found
    for text in ("nobody", uuid7(), "'; --", "\x00"):
        assert "Nobody." in browser.get(DESK, {"q": text}).content.decode()
    assert "Nobody." not in browser.get(DESK).content.decode()


def test_of_many_the_first_twenty_are_shown(browser):
    for number in range(21):
        User.objects.create_user(email=f"many{number:02}@example.com")
    page = browser.get(DESK, {"q": "MANY"})
    shown = [one.user.email for one in page.context["found"]]
    assert shown == [f"many{number:02}@example.com" for number in range(20)]
    assert "The first 20; there are more." in page.content.decode()


def test_somebody_without_a_wallet_is_given_one_to_grant_to(helpdesk):
    dave = User.objects.create_user(email="dave@example.com")
    assert "no wallet yet" in helpdesk.get(DESK, {"q": "dave@"}).content.decode()
    opened = helpdesk.post(f"{DESK}{dave.pk}/")
    wallet = CreditWallet.objects.get(user_id=dave.pk)
    assert opened.headers["Location"] == f"/admin/billing/creditwallet/{wallet.pk}/change/"
    assert helpdesk.post(f"{DESK}{dave.pk}/").headers["Location"] == opened.headers["Location"]
    assert helpdesk.post(f"{DESK}{uuid7()}/").status_code == 404


def test_an_entry_leads_to_its_turn_and_bill_and_call(browser):
    alice = make_person("alice")
    turn = make_turn_with_a_bill(alice)
    debit = CreditTransaction.objects.get(user_id=alice.id, kind="debit")
    links = [
        reverse("admin:sessions_app_turn_change", args=[turn.pk]),
        reverse("admin:sessions_app_turn_bill", args=[turn.pk]),
        reverse("admin:billing_llmcallevent_change", args=[debit.event_id]),
    ]
    for url in (
        f"/admin/billing/creditwallet/{wallet_of(alice).pk}/change/",
        f"/admin/billing/credittransaction/{debit.pk}/change/",
    ):
        page = browser.get(url).content.decode()
        for link in links:
            assert f'href="{link}"' in page, (url, link)
    bill = browser.get(links[1]).content.decode()
    assert "x 1 / 10000 = 1.00000000" in bill
    assert alice.email in bill
    assert links[1] in browser.get(links[0]).content.decode()
    assert browser.get(reverse("admin:sessions_app_turn_bill", args=[uuid7()])).status_code == 404


def test_support_sees_bills_and_not_what_was_written(helpdesk):
    alice = make_person("alice")
    turn = make_turn_with_a_bill(alice)
    page = helpdesk.get(f"/admin/billing/creditwallet/{wallet_of(alice).pk}/change/").content.decode()
    assert reverse("admin:sessions_app_turn_bill", args=[turn.pk]) in page
    assert reverse("admin:sessions_app_turn_change", args=[turn.pk]) not in page
    bill = helpdesk.get(reverse("admin:sessions_app_turn_bill", args=[turn.pk])).content.decode()
    assert "a private question" not in bill


def test_the_lots_that_paid_an_entry_are_shown(browser):
    alice = make_person("alice", credits="0")
    for campaign, amount, priority in (("first", "0.25", 10), ("second", "5", 20)):
        ledger.grant(
            user_id=alice.id, amount=credits(amount), priority=priority, campaign=campaign, reason="x",
            initiated_by="test",
        )  # fmt: skip
    make_turn_with_a_bill(alice)
    debit = CreditTransaction.objects.get(user_id=alice.id, kind="debit")
    page = browser.get(f"/admin/billing/credittransaction/{debit.pk}/change/")
    lots = [
        (one.grant.campaign, ledger_text(one.moved), ledger_text(one.grant.remaining))
        for one in page.context["allocations"]
    ]
    assert sorted(lots) == [("first", "0.25000000", "0.00000000"), ("second", "0.75000000", "4.25000000")]
    assert "Paid by it" in page.content.decode()


def test_lots_stand_in_burning_order_and_holds_with_their_end(browser):
    alice = make_person("alice", credits="0")
    for campaign, priority in (("late", 90), ("early", 5), ("middle", 50)):
        ledger.grant(
            user_id=alice.id, amount=credits("1"), priority=priority, campaign=campaign, reason="x", initiated_by="t",
            aliases=["gpt-4o"] if campaign == "middle" else [],
        )  # fmt: skip
    make_hold(alice.id, "1.5")
    page = browser.get(f"/admin/billing/creditwallet/{wallet_of(alice).pk}/change/")
    assert [grant.campaign for grant in page.context["summary"].grants] == ["early", "middle", "late"]
    ((hold, links),) = page.context["holds"]
    assert (str(hold.amount), [link.label for link in links]) == ("1.50000000", ["turn", "bill"])
    assert f"{hold.expires_at:%Y-%m-%d %H:%M:%S}" in page.content.decode()


def test_a_preview_shows_each_lot_before_and_after_and_leaves_nothing(browser):
    alice = make_person("alice", credits="0")
    for campaign, priority in (("late", 90), ("early", 5)):
        ledger.grant(
            user_id=alice.id, amount=credits("2"), priority=priority, campaign=campaign, reason="x", initiated_by="t"
        )
    url = f"/admin/billing/creditwallet/{wallet_of(alice).pk}/adjust/"
    page = browser.post(url, {"amount": "-3", "reason": "wrong", "token": str(uuid7())})
    rehearsal = page.context["preview"]
    moved = {move.lot.campaign: (ledger_text(move.before), ledger_text(move.after)) for move in rehearsal.lots}
    assert moved == {"early": ("2.00000000", "0.00000000"), "late": ("2.00000000", "1.00000000")}
    assert (str(rehearsal.before), str(rehearsal.after)) == ("4.00000000", "1.00000000")
    assert str(wallet_of(alice).balance) == "4.00000000"
    assert CreditTransaction.objects.filter(user_id=alice.id).count() == 2
