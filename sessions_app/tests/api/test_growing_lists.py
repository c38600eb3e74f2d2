"""Lists of the admin at ten million rows: a page is read by an index, nothing is counted, nothing is skipped over."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing import ledger
from billing.models import CreditHold, CreditTransaction, CreditWallet
from billing.tests.makers import credits
from config.core.admin_lists import KeysetAdmin
from sessions_app.tests.admin_rows import make_admin_rows
from sessions_app.tests.makers import make_person
from users.models import User

pytestmark = pytest.mark.django_db
# Their rows are few: tokens end after hours, and their table is knox's.
SMALL = {"knox_authtoken"}
GROWING = sorted(
    model._meta.label_lower for model, page in admin.site._registry.items() if isinstance(page, KeysetAdmin)
)

# The desk is a page of its own.
LISTS = sorted({model._meta.label_lower for model in admin.site._registry} - {"billing.usagetotal"})


@pytest.fixture
def rows():
    return make_admin_rows()


@pytest.fixture
def browser():
    client = Client()
    client.force_login(User.objects.get(pk=make_person("boss", is_staff=True, is_superuser=True).id))
    return client


def url_of(label):
    return f"/admin/{label.replace('.', '/')}/"


def model_of(label):
    return next(model for model in admin.site._registry if model._meta.label_lower == label)


def test_every_table_that_grows_has_such_a_list():
    assert {label.partition(".")[2] for label in GROWING} == {
        *("agent", "alert", "alertdelivery", "apikey", "authtoken", "completion", "creditallocation", "creditgrant"),
        *("credithold", "credittransaction", "creditwallet", "llmcallevent", "room", "session", "sessionsummary"),
        *(
            "shadowrefusal",
            "spendinglimit",
            "toolcallevent",
            "turn",
            "turncontextaudit",
            "uploadedfile",
            "user",
            "userenforcement",
        ),
        "webhookendpoint",
    }


def statements(browser, url):
    with CaptureQueriesContext(connection) as captured:
        answer = browser.get(url)
    assert answer.status_code == 200
    return [query["sql"] for query in captured.captured_queries if query["sql"].startswith("SELECT")]


def plan_of(sql):
    with connection.cursor() as cursor:
        # A table of few rows is read whole, unless that is forbidden: then only what has no index for it is.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {sql}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
        cursor.execute("SET LOCAL enable_seqscan = on")
    return plan


@pytest.mark.parametrize("label", GROWING)
def test_a_list_counts_nothing_and_reads_by_an_index(browser, rows, label):
    table = model_of(label)._meta.db_table
    row = model_of(label)._default_manager.first()
    searches = ["", f"?q={rows.id}", f"?q={rows.email}", "?q=nothing"]
    if row is not None:
        searches += [f"?q={row.pk}", f"?before={row.pk}", f"?after={row.pk}", f"?q={rows.id}&before={row.pk}"]
    if table == "knox_authtoken":
        searches = searches[:4]
    for search in searches:
        for sql in statements(browser, url_of(label) + search):
            # The shadow report above its list counts a month of refusals, by an index.
            if label == "billing.shadowrefusal" and "COUNT" in sql:
                continue
            assert "COUNT(" not in sql, sql
            assert "OFFSET" not in sql, sql
            if f'FROM "{table}"' in sql and table not in SMALL:
                plan = plan_of(sql)
                assert not re.search(rf"Seq Scan on {table}\b", plan), (search, sql, plan)


@pytest.mark.parametrize("label", ["billing.llmcallevent", "billing.credittransaction", "sessions_app.turn"])
def test_a_filter_is_offered_and_taken_beside_a_search_only(browser, rows, label):
    name = {"billing.credittransaction": "kind"}.get(label, "status")
    assert "changelist-filter" not in browser.get(url_of(label)).content.decode()
    assert browser.get(f"{url_of(label)}?{name}__exact=debit").status_code == 400
    assert "changelist-filter" in browser.get(f"{url_of(label)}?q={rows.id}").content.decode()
    assert browser.get(f"{url_of(label)}?q={rows.id}&{name}__exact=debit").status_code == 200


@pytest.mark.parametrize("label", LISTS)
def test_every_choice_of_every_filter_leads_to_a_list(browser, rows, label):
    for search in ("", f"?q={rows.id}"):
        shown = browser.get(url_of(label) + search).context["cl"]
        for one in shown.filter_specs:
            for choice in one.choices(shown):
                page = browser.get(url_of(label) + choice["query_string"])
                assert page.status_code == 200, choice
                assert "cl" in page.context, choice


def test_the_open_holds_are_found_among_all(browser, rows):
    page = browser.get(url_of("billing.credithold") + "?open=yes")
    assert {hold.status for hold in page.context["cl"].result_list} == {"open"}
    assert len(page.context["cl"].result_list) == CreditHold.objects.filter(status="open").count()


def seqs(page):
    return [row.seq for row in page.context["cl"].result_list]


def link(page, rel):
    found = re.search(rf'<a href="([^"]+)" rel="{rel}">', page.content.decode())
    return found and found[1].replace("&amp;", "&")


@pytest.mark.parametrize("search", ["", "?q={}"])
def test_pages_follow_each_other_there_and_back(browser, search):
    alice = make_person("alice", credits="0")
    others = 0 if search else CreditTransaction.objects.count()
    for number in range(120):
        ledger.grant(user_id=alice.id, amount=credits("1"), reason=f"{number}", initiated_by="test")
    url = url_of("billing.credittransaction")
    page = browser.get(url + search.format(alice.id))
    read, pages = [], [page]
    while True:
        read += seqs(page)
        older = link(page, "next")
        if older is None:
            break
        page = browser.get(url + older)
        pages.append(page)
    assert read[:120] == list(range(120, 0, -1))
    assert [len(seqs(one)) for one in pages] == [50, 50, 20 + others]
    assert link(pages[0], "prev") is None
    back = browser.get(url + link(pages[2], "prev"))
    assert seqs(back) == seqs(pages[1])
    assert seqs(browser.get(url + link(back, "prev"))) == seqs(pages[0])
    assert "Older" in pages[0].content.decode()


@pytest.mark.parametrize("place", ["before=x", f"before={UUID(int=7)}", "after=1", "before='"])
def test_a_place_that_is_none_leads_back_to_the_list(browser, rows, place):
    answer = browser.get(f"{url_of('billing.credittransaction')}?{place}", follow=True)
    assert answer.status_code == 200
    assert answer.redirect_chain == [(f"{url_of('billing.credittransaction')}?e=1", 302)]


def test_users_are_found_by_the_beginning_of_an_address_in_any_case_by_an_index(browser):
    for name in ("ann", "Anna", "anne_", "bob", "a%b"):
        User.objects.create_user(email=f"{name}@example.org")
    url = url_of("users.user")

    def found(text):
        page = browser.get(url, {"q": text})
        return sorted(row.email for row in page.context["cl"].result_list)

    assert found("ANN") == ["Anna@example.org", "ann@example.org", "anne_@example.org"]
    assert found("ann@") == ["ann@example.org"]
    assert found("nn@") == []
    assert found("a%") == ["a%b@example.org"]
    assert found("anne_") == ["anne_@example.org"]
    # As many as make an index worth it to the planner.
    User.objects.bulk_create(User(email=f"other-{number}@example.org") for number in range(2_000))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE users")
    sql = statements(browser, f"{url}?q=ann")
    assert any("user_email_prefix" in plan_of(one) for one in sql if "LIKE" in one)


def test_a_wallets_entries_are_paged_by_their_numbers(browser):
    alice = make_person("alice", credits="0")
    for number in range(60):
        ledger.grant(user_id=alice.id, amount=credits("1"), reason=f"{number}", initiated_by="test")
    url = f"/admin/billing/creditwallet/{CreditWallet.objects.get(user_id=alice.id).pk}/change/"
    pages = [browser.get(url)]
    while older := link(pages[-1], "next"):
        pages.append(browser.get(url + older.partition("#")[0]))
    read = [[entry.seq for entry, _ in page.context["entries"].rows] for page in pages]
    assert read == [list(range(60, 35, -1)), list(range(35, 10, -1)), list(range(10, 0, -1))]
    back = browser.get(url + link(pages[2], "prev").partition("#")[0])
    assert [entry.seq for entry, _ in back.context["entries"].rows] == read[1]
    for odd in ("?before=x", "?after=-1", "?before=99999999999999999999"):
        assert [entry.seq for entry, _ in browser.get(url + odd).context["entries"].rows] == read[0]
