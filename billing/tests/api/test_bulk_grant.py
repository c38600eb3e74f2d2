"""Credits for a list of e-mails: seen first, then granted once a user and campaign, however often it is sent."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import OperationalError
from django.test import Client

from billing import ledger
from billing.bulk import performing
from billing.bulk import progress as progress_of_a_run
from billing.bulk.emails import Row
from billing.bulk.granting import Campaign, grant_once
from billing.bulk.planning import judge
from billing.models import CreditGrant, CreditTransaction, CreditWallet
from billing.tests.makers import credits
from config.core.money import LEDGER_LIMIT, ledger_text
from config.core.tests.racing import at_once
from sessions_app.tests.makers import make_person
from users.erasing import close_account
from users.models import User

# What is granted is granted by threads of their own.
pytestmark = pytest.mark.django_db(transaction=True)
URL = "/admin/billing/creditwallet/bulk/"
FORM = {"amount": "2.5", "kind": "promo", "campaign": "spring", "reason": "thank you"}


@pytest.fixture
def boss():
    return make_person("boss", is_staff=True, is_superuser=True)


@pytest.fixture
def browser(boss):
    client = Client()
    client.force_login(User.objects.get(pk=boss.id))
    return client


@pytest.fixture
def people():
    return make_person("alice"), make_person("bob"), make_person("carol", credits="0")


def upload(browser, *lines, **fields):
    content = "\n".join(lines).encode()
    return browser.post(URL, {**FORM, "file": SimpleUploadedFile("list.csv", content), **fields})


def text_of(page):
    return page if isinstance(page, str) else page.content.decode()


def hidden(page):
    """What the page's own form would send."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', text_of(page))
    return {name: value.replace("&#x27;", "'") for name, value in found if name != "csrfmiddlewaretoken"}


def confirmed(browser, page, *, pieces=None):
    """The page that is written while it is granted, read to its end or hung up after so many pieces."""

    async def read(answer):
        found = []
        async with aclosing(aiter(answer.streaming_content)) as content:
            async for piece in content:
                found.append(piece.decode())
                if len(found) == pieces:
                    break
        return "".join(found)

    answer = browser.post(URL, hidden(page))
    assert answer.status_code == 200
    return asyncio.run(read(answer))


def table(page):
    """Row by row: line, text, what."""
    rows = re.findall(r'<tr><td class="n">(\d+)</td><td>(.*?)</td>\s*<td[^>]*>(.*?)</td></tr>', text_of(page))
    return [(int(line), text, what) for line, text, what in rows]


def progress(page):
    return [(int(done), int(total)) for done, total in re.findall(r"</progress> (\d+) of (\d+)", page)]


def balances(*persons):
    return [ledger_text(CreditWallet.objects.get(user_id=person.id).balance) for person in persons]


def test_who_gets_it_is_seen_first_and_then_done_once(browser, boss, people):
    alice, bob, carol = people
    User.objects.filter(pk=carol.id).update(is_active=False)
    ledger.grant(user_id=bob.id, amount=credits("1"), campaign="spring", reason="earlier", initiated_by="test")
    dave = User.objects.create_user(email="dave@example.com")
    lines = ("email", alice.email.upper(), bob.email, carol.email, "nobody@example.com", alice.email, "no address",
             "", "DAVE@example.com")  # fmt: skip
    before = CreditTransaction.objects.count()
    plan = upload(browser, *lines)
    assert plan.status_code == 200
    verdicts = [
        (3, bob.email, "has had it from this campaign"),
        (4, carol.email, "account switched off"),
        (5, "nobody@example.com", "no such user"),
        (6, alice.email, "same user as in an earlier line: line 2"),
        (7, "no address", "no e-mail address"),
    ]
    assert table(plan) == [
        (2, alice.email.upper(), "gets it"), *verdicts, (9, "DAVE@example.com", "gets it")
    ]  # fmt: skip
    assert "Yes, grant to 2 users" in plan.content.decode()
    assert "5.00000000" in plan.content.decode()
    assert CreditTransaction.objects.count() == before
    assert LogEntry.objects.count() == 0
    done = confirmed(browser, plan)
    assert table(done) == [(2, alice.email.upper(), "granted"), *verdicts, (9, "DAVE@example.com", "granted")]
    assert balances(alice, bob, carol) == ["12.50000000", "11.00000000", "0.00000000"]
    lot = CreditGrant.objects.get(user_id=dave.pk)
    assert (lot.kind, lot.amount, lot.campaign) == ("promo", Decimal("2.5"), "spring")
    entry = CreditTransaction.objects.get(user_id=dave.pk)
    assert (entry.reason, entry.initiated_by) == ("thank you", str(boss.id))
    # Sent again, as by a double click or the browser: who has it by now is told so.
    again = confirmed(browser, plan)
    assert table(again)[0] == (2, alice.email.upper(), "has had it from this campaign")
    assert balances(alice, bob) == ["12.50000000", "11.00000000"]
    assert CreditGrant.objects.filter(user_id=dave.pk).count() == 1


def test_each_grant_and_the_run_are_logged_word_for_word(browser, boss, people):
    alice, bob, _ = people
    plan = upload(browser, alice.email, bob.email, "nobody@example.com")
    confirmed(browser, plan)
    rows = LogEntry.objects.filter(user_id=boss.id).order_by("id")
    wallets = [str(CreditWallet.objects.get(user_id=person.id).pk) for person in (alice, bob)]
    message = "Bulk grant spring: Grant of 2.50000000; thank you"
    summary = (
        "Bulk grant spring, 2.50000000 each (promo): 2 granted, 0 had it, 0 failed, 1 unknown, 0 inactive, "
        "0 duplicate, 0 malformed, 0 left; thank you"
    )
    assert [(row.object_id, row.get_change_message()) for row in rows] == [
        *[(wallet, message) for wallet in wallets], (None, summary)
    ]  # fmt: skip


def test_the_command_and_the_page_are_one_rule(browser, people):
    alice, bob, _ = people
    call_command("grant_beta_credits", "--amount", "3", "--user", alice.email, "--campaign", "spring")
    plan = upload(browser, alice.email, bob.email)
    assert [what for _, _, what in table(plan)] == ["has had it from this campaign", "gets it"]
    confirmed(browser, plan)
    call_command("grant_beta_credits", "--amount", "3", "--user", alice.email, bob.email, "--campaign", "spring")
    assert balances(alice, bob) == ["13.00000000", "12.50000000"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"amount": "0"}, "Must be above 0."),
        ({"amount": "NaN"}, "A decimal with at most"),
        ({"amount": ""}, "This field is required."),
        ({"campaign": " "}, "This field is required."),
        ({"campaign": "x" * 65}, "at most 64 characters"),
        ({"reason": ""}, "This field is required."),
        ({"kind": "adjustment"}, "Select a valid choice."),
        ({"expires_at_0": "2020-01-01", "expires_at_1": "00:00"}, "Must lie in the future."),
        ({"file": ""}, "Choose a file."),
        ({"file": SimpleUploadedFile("x.csv", b"caf\xe9")}, "The file is not UTF-8"),
        ({"file": SimpleUploadedFile("x.xlsx", b"PK\x00")}, "has to be saved as CSV"),
    ],
)
def test_what_is_wrong_with_the_form_is_said_and_nothing_granted(browser, people, fields, said):
    before = CreditTransaction.objects.count()
    answer = upload(browser, people[0].email, confirmed="1", **fields)
    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert CreditTransaction.objects.count() == before


def test_a_wallet_that_cannot_take_it_is_said_and_stops_nobody(browser, people):
    alice, bob, _ = people
    nearly_all = LEDGER_LIMIT - 60
    ledger.grant(user_id=alice.id, amount=nearly_all, reason="much", initiated_by="test")
    plan = upload(browser, alice.email, bob.email, amount="100")
    done = confirmed(browser, plan)
    assert table(done) == [
        (1, alice.email, "not granted: The balance would leave the range of the ledger."),
        (2, bob.email, "granted"),
    ]
    assert balances(alice, bob) == [ledger_text(nearly_all + 10), "110.00000000"]


def test_one_click_grants_all_of_a_list_and_says_how_far_it_is(browser, people, monkeypatch):
    monkeypatch.setattr(performing, "STEP_ROWS", 2)
    page = confirmed(browser, upload(browser, *[person.email for person in people], "nobody@example.com"))
    assert progress(page) == [(0, 3), (2, 3), (3, 3)]
    assert [what for _, _, what in table(page)] == [*["granted"] * 3, "no such user"]
    assert balances(*people) == ["12.50000000", "12.50000000", "2.50000000"]
    assert page.count("<!DOCTYPE html>") == page.count("</html>") == 1
    # Done: how far it is and the button to go on are shown no more.
    assert "<style>.so-far, .again { display: none; }</style>" in page


def test_who_hangs_up_ends_it_and_it_can_be_gone_on_with(browser, boss, people, monkeypatch):
    monkeypatch.setattr(performing, "STEP_ROWS", 1)
    plan = upload(browser, *[person.email for person in people])
    broken = confirmed(browser, plan, pieces=2)
    assert progress(broken) == [(0, 3), (1, 3)]
    assert balances(*people) == ["12.50000000", "10.00000000", "0.00000000"]
    summary = LogEntry.objects.filter(user_id=boss.id).latest("id").get_change_message()
    assert "1 granted, 0 had it, 0 failed, 0 unknown, 0 inactive, 0 duplicate, 0 malformed, 2 left" in summary
    # By the button of what there is of the page.
    again = confirmed(browser, broken)
    assert [what for _, _, what in table(again)] == ["has had it from this campaign", "granted", "granted"]
    assert balances(*people) == ["12.50000000", "12.50000000", "2.50000000"]


def test_a_database_that_is_away_ends_it_with_what_was_done_so_far(browser, people, monkeypatch):
    monkeypatch.setattr(performing, "STEP_ROWS", 1)
    monkeypatch.setattr(progress_of_a_run, "PATIENCE_S", 0)
    real, done = performing.grant_once, []

    def breaks(campaign, **who):
        if done:
            raise OperationalError("the connection is closed")
        done.append(who)
        return real(campaign, **who)

    plan = upload(browser, *[person.email for person in people])
    with monkeypatch.context() as patched:
        patched.setattr(performing, "grant_once", breaks)
        page = confirmed(browser, plan)
    assert "The database does not answer. 2 are left" in page
    assert [what for _, _, what in table(page)] == ["granted", "not yet", "not yet"]
    assert "<style>.so-far { display: none; }</style>" in page
    assert [what for _, _, what in table(confirmed(browser, page))][1:] == ["granted", "granted"]
    assert balances(*people) == ["12.50000000", "12.50000000", "2.50000000"]


def test_who_is_erased_while_it_runs_gets_nothing(people):
    alice, bob, _ = people
    rows = judge([Row(1, alice.email), Row(2, bob.email)], campaign="spring")
    run = performing.Run(Campaign("spring", credits("2"), "promo", "thank you"), rows, actor="test")
    close_account(alice.id)
    run.step()
    assert ([row.verdict for row in run.rows], run.left) == (["inactive", "granted"], 0)
    assert balances(alice, bob) == ["10.00000000", "12.00000000"]


def test_two_who_run_the_same_list_at_once_grant_once_each():
    people = [make_person(f"user{number}") for number in range(20)]
    rows = [Row(number, person.email) for number, person in enumerate(people)]
    campaign = Campaign("spring", credits("2"), "promo", "thank you")
    runs = [performing.Run(campaign, judge(rows, campaign="spring"), actor="test") for _ in range(3)]
    assert at_once(*[run.step for run in runs]) == [None] * 3
    assert sum(run.count("granted") for run in runs) == 20
    assert sum(run.count("had it") for run in runs) == 40
    assert set(balances(*people)) == {"12.00000000"}


def test_addresses_of_a_list_are_shown_as_text(browser):
    page = upload(browser, "<script>alert(1)</script>@x.de", "émile@example.com", "=cmd@example.com")
    assert "<script>alert(1)" not in page.content.decode()
    assert [what for _, _, what in table(page)] == ["no such user", "no e-mail address", "no such user"]


def test_a_thousand_rows_are_judged_in_two_statements(people, django_assert_num_queries):
    rows = [Row(number, f"user{number}@example.com") for number in range(998)]
    rows += [Row(998 + number, person.email) for number, person in enumerate(people[:2])]
    with django_assert_num_queries(2):
        verdicts = [row.verdict for row in judge(rows, campaign="spring")]
    assert verdicts == ["unknown"] * 998 + ["grant"] * 2


@pytest.mark.django_db(transaction=True)
def test_eight_at_once_grant_once():
    alice = make_person("alice")
    campaign = Campaign("spring", credits("2"), "promo", "thank you")
    outcomes = at_once(
        *[lambda: grant_once(campaign, user_id=alice.id, initiated_by="test")] * 8
    )  # fmt: skip
    assert sorted(outcomes) == ["granted", *["had it"] * 7]
    assert balances(alice) == ["12.00000000"]
