"""Staff find a wallet, give credits, give back what a turn took, and see both in the ledger."""

from __future__ import annotations

from decimal import Decimal

import pytest

from billing.models import CreditTransaction, CreditWallet
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply

pytestmark = pytest.mark.usefixtures("committed")
# 100 OE tokens: 0.02 credits on gpt-4o.
USAGE = {"prompt_tokens": 100, "completion_tokens": 65}


@pytest.fixture
def alice():
    return make_person("alice", credits="10")


def wallet_of(person):
    return CreditWallet.objects.get(user_id=person.id)


def page_of(person):
    return f"/admin/billing/creditwallet/{wallet_of(person).pk}/change/"


def entries_of(person):
    entries = CreditTransaction.objects.filter(user_id=person.id).order_by("seq")
    return [(entry.kind, entry.amount, entry.reason) for entry in entries]


def turn_of(web, person):
    with web.client(person.token) as client:
        answer = client.post(f"/sessions/{make_session(person, 'ann')}/turns", json={"message": "Hi"})
        assert answer.status_code == 201, answer.text
        return answer.json()


def confirm(desk):
    desk.press("Continue: see what it comes to")
    shown = desk.page.locator(".money-preview").inner_text()
    desk.press("Yes, do it")
    return shown


def test_a_wallet_is_found_by_the_beginning_of_an_address_and_granted_credits(desk, alice):
    bob = make_person("bob", credits="1")
    desk.go("/admin/billing/creditwallet/desk/")
    desk.page.get_by_label("Whose wallet?").fill(alice.email[:12])
    desk.press("Find")
    assert bob.email not in desk.page.locator("#content").inner_text()
    desk.press(alice.email)
    desk.press("Grant credits")
    desk.page.get_by_label("Amount").fill("2.5")
    desk.page.get_by_label("Reason").fill("A week of outage")
    assert "12.50000000" in confirm(desk)
    assert "12.50000000" in desk.message
    assert entries_of(alice)[-1] == ("grant", Decimal("2.5"), "A week of outage")
    assert wallet_of(bob).balance == Decimal(1)


def test_what_a_turn_took_is_given_back_and_both_are_seen(desk, web, script, alice):
    script.reply = Reply(usage=USAGE)
    turn = turn_of(web, alice)
    assert turn["balance_after"] == "9.98000000"
    desk.go(page_of(alice))
    # Of the entries, newest first, the debit.
    desk.follow('a[href*="/credittransaction/"]')
    desk.press("Refund")
    desk.page.get_by_label("Reason").fill("It answered nothing")
    confirm(desk)
    assert entries_of(alice)[-1] == ("refund", Decimal("0.02"), "It answered nothing")
    assert wallet_of(alice).balance == Decimal(10)
    desk.go(page_of(alice))
    shown = desk.page.locator("#content").inner_text()
    assert "It answered nothing" in shown
    assert "10.00000000" in shown


@pytest.mark.parametrize("amount", ["-1", "NaN", "1e400", "0." + "1" * 40, "", "0"])
def test_a_wrong_amount_is_refused_beside_its_field_and_nothing_moves(desk, alice, amount):
    before = entries_of(alice)
    desk.go(page_of(alice))
    desk.press("Grant credits")
    desk.page.get_by_label("Amount").fill(amount)
    desk.page.get_by_label("Reason").fill("A try")
    desk.press("Continue: see what it comes to")
    assert desk.page.locator(".errorlist").first.inner_text().strip()
    assert entries_of(alice) == before


def test_a_list_is_granted_with_one_click(desk, alice):
    people = [make_person(f"user{number}", credits="1") for number in range(60)]
    lines = "\n".join(["email", *(one.email for one in people), "nobody@example.com"])
    desk.go("/admin/billing/creditwallet/bulk/")
    desk.page.get_by_label("E-mails").set_input_files(
        {"name": "list.csv", "mimeType": "text/csv", "buffer": lines.encode()}
    )
    for label, value in (("Amount", "2"), ("Campaign", "Spring"), ("Reason", "Thank you")):
        desk.page.get_by_label(label).fill(value)
    desk.press("Continue: see who gets it")
    desk.press("Yes, grant to 60 users")
    content = desk.page.locator("#content")
    content.get_by_role("heading", name="What was done").wait_for()
    assert content.get_by_role("cell", name="granted", exact=True).count() == 60
    # How far it was, and the button that goes on, are for a page that is not through.
    assert not content.get_by_role("button", name="Go on").is_visible()
    assert not content.locator("progress").first.is_visible()
    assert desk.violations() == []
    assert {wallet_of(one).balance for one in people} == {Decimal(3)}


def test_the_desk_is_sound_for_everybody(desk, web, script, alice):
    script.reply = Reply(usage=USAGE)
    for _ in range(3):
        turn_of(web, alice)
    desk.look(f"/admin/billing/creditwallet/desk/?q={alice.email[:12]}", "wallet-desk")
    desk.look(page_of(alice), "wallet")
    desk.look(page_of(alice).replace("change", "grant"), "wallet-grant")
    desk.look("/admin/billing/creditwallet/bulk/", "bulk-grant")
