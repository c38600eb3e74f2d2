"""Two web processes over one database: one wallet, one price, and what a kill leaves behind."""

from __future__ import annotations

import re
import signal
import threading
import time
from decimal import Decimal

import httpx
import psycopg
import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import PBKDF2PasswordHasher, make_password
from django.core.management import call_command
from django.db import connection, transaction

from billing import ledger
from billing.models import CreditHold, CreditTransaction, CreditWallet, LLMCallEvent
from config.core.tests.racing import at_once
from pricing.models import ModelPricing, PricingVersion
from sessions_app.models import Message, Turn
from sessions_app.tests.e2e.forms import form_fields
from sessions_app.tests.e2e.servers import WebProcess, sse
from sessions_app.tests.makers import PASSWORD, make_person, make_session
from sessions_app.tests.scripted_provider import Reply
from sessions_app.turns.recovery import recover_lost_turns

WEB_PROCESSES = 2
# DEBUG: the admin's cookies travel over plain HTTP.
ENVIRONMENT = {"DEBUG": "1", "TURN_LEASE_S": "2"}
pytestmark = [pytest.mark.long, pytest.mark.server, pytest.mark.usefixtures("committed")]

# uvicorn ends by the signal that it was sent, once it has shut down.
GRACEFUL = {0, -signal.SIGTERM}
ONE_TOKEN = {"prompt_tokens": 0, "completion_tokens": 10_000}


def post(web: WebProcess, person, session, **body):
    with web.client(person.token) as client:
        return client.post(f"/sessions/{session}/turns", json={"message": "hi", **body})


def test_money_for_one_turn_and_twenty_posts_from_two_processes(webs, script):
    script.reply = Reply(usage={"prompt_tokens": 13, "completion_tokens": 1_000}, first_delay_s=0.5)
    alice = make_person("alice", credits="0.21")
    sessions = [make_session(alice, "solo") for _ in range(20)]
    works = [
        lambda n=n, session=session: post(webs[n % 2], alice, session, max_output_tokens=1_000)
        for n, session in enumerate(sessions)
    ]
    answers = at_once(*works)
    assert sorted(answer.status_code for answer in answers) == [201] + [402] * 19
    refused = [answer.json() for answer in answers if answer.status_code == 402]
    while_it_ran, once_settled = ("0.21000000", "0.20147000", "0.00853000"), ("0.00909000", "0.00000000", "0.00909000")
    assert {(one["balance"], one["held"], one["available"]) for one in refused} <= {while_it_ran, once_settled}
    wallet = CreditWallet.objects.get(user_id=alice.id)
    # (0.35 x 13 + 1000) x 2 / 10000
    assert (wallet.balance, wallet.held) == (Decimal("0.00909000"), 0)
    assert Turn.objects.filter(user_id=alice.id).count() == 1
    assert CreditTransaction.objects.filter(user_id=alice.id, kind="debit").count() == 1


def test_twenty_posts_on_one_session_make_one_turn(webs, script):
    # Longer than it takes twenty posts to arrive on a busy machine: a later one may well open a second turn.
    script.reply = Reply(first_delay_s=4)
    alice = make_person("alice")
    session = make_session(alice, "solo")
    answers = at_once(*[lambda n=n: post(webs[n % 2], alice, session) for n in range(20)])
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"turn_in_progress"}
    turn = Turn.objects.get(session_id=session)
    assert {a.json()["turn_id"] for a in answers if a.status_code == 409} == {str(turn.id)}


def test_twenty_posts_with_one_key_make_one_turn(webs, script):
    script.reply = Reply(first_delay_s=0.5)
    alice = make_person("alice")
    session = make_session(alice, "solo")

    def keyed(web):
        with web.client(alice.token) as client:
            return client.post(f"/sessions/{session}/turns", json={"message": "hi"}, headers={"Idempotency-Key": "one"})

    answers = at_once(*[lambda n=n: keyed(webs[n % 2]) for n in range(20)])
    made = [answer for answer in answers if answer.status_code == 201]
    assert len({answer.json()["id"] for answer in made}) == 1
    assert {a.json()["code"] for a in answers if a.status_code != 201} <= {"idempotency_in_progress"}
    assert Turn.objects.filter(session_id=session).count() == 1


def test_the_first_requests_of_a_new_user_make_one_wallet(webs):
    alice = make_person("alice", credits="0")
    CreditWallet.objects.get(user_id=alice.id)

    def wallet(web):
        with web.client(alice.token) as client:
            return client.get("/users/me/wallet")

    assert {a.status_code for a in at_once(*[lambda n=n: wallet(webs[n % 2]) for n in range(20)])} == {200}
    assert CreditWallet.objects.filter(user_id=alice.id).count() == 1


def edit_in_the_admin(web: WebProcess, alias: str, multiplier: str) -> None:
    """Log in as a person would and save the version's page with another multiplier."""
    staff = make_person("staff", is_staff=True, is_superuser=True)
    # The web process knows the real hashers only.
    password = make_password(PASSWORD, hasher=PBKDF2PasswordHasher())
    get_user_model().objects.filter(pk=staff.id).update(password=password)
    version = PricingVersion.objects.get(status="active")
    row = ModelPricing.objects.get(version=version, model_alias=alias)
    with httpx.Client(base_url=web.url, follow_redirects=True, timeout=30) as browser:
        page = browser.get("/admin/login/").text
        browser.post("/admin/login/", data={**_hidden(page), "username": staff.email, "password": PASSWORD})
        url = f"/admin/pricing/pricingversion/{version.pk}/change/"
        page = browser.get(url).text
        fields = form_fields(page)
        (name,) = [n for n, value in fields.items() if n.endswith("-id") and value == str(row.pk)]
        fields[name.replace("-id", "-multiplier")] = multiplier
        saved = browser.post(url, data={**fields, "_continue": "1"}, headers={"Referer": f"{web.url}{url}"})
        assert saved.status_code == 200
        assert "was changed successfully" in saved.text, re.findall(r'class="errorlist.*?</ul>', saved.text, re.DOTALL)
    row.refresh_from_db()
    assert row.multiplier == Decimal(multiplier)


def _hidden(page: str) -> dict[str, str]:
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert token is not None
    return {"csrfmiddlewaretoken": token[1]}


def test_a_multiplier_saved_in_the_admin_bills_every_turn_opened_after_it_at_both_processes(webs, script):
    alice = make_person("alice", credits="100")
    sessions = [make_session(alice, "mini", model_alias="gpt-4o-mini") for _ in range(3)]
    script.reply = Reply(chunks=tuple("abcdefgh"), usage=ONE_TOKEN, delay_s=0.4)
    in_flight = []
    slow = threading.Thread(target=lambda: in_flight.append(post(webs[1], alice, sessions[0])))
    slow.start()
    while not Turn.objects.filter(session_id=sessions[0]).exists():
        time.sleep(0.02)
    edit_in_the_admin(webs[0], "gpt-4o-mini", "3.2500")
    script.reply = Reply(usage=ONE_TOKEN)
    after = [post(web, alice, session).json() for web, session in zip(webs, sessions[1:], strict=True)]
    slow.join()
    assert [turn["usage"]["credits_charged"] for turn in after] == ["3.25000000", "3.25000000"]
    assert in_flight[0].json()["usage"]["credits_charged"] == "1.00000000"
    revisions = [turn["pricing_revision"] for turn in after]
    assert revisions[0] == revisions[1] > in_flight[0].json()["pricing_revision"]
    edit_in_the_admin(webs[1], "gpt-4o-mini", "1.0000")


def test_every_turn_opened_after_a_price_edit_is_billed_by_it_whichever_process_takes_it(webs, script):
    script.reply = Reply(usage=ONE_TOKEN)
    alice = make_person("alice", credits="100")
    session = make_session(alice, "mini", model_alias="gpt-4o-mini")
    for n in range(1, 9):
        multiplier = Decimal(n) / 8
        row = ModelPricing.objects.get(version__status="active", model_alias="gpt-4o-mini")
        row.multiplier = multiplier
        row.save()
        for web in webs:
            assert Decimal(post(web, alice, session).json()["usage"]["credits_charged"]) == multiplier


def killed_in_the_second_call(provider, script, alice, session, environment):
    """A process of its own that is killed (-9) while the second of two agents is answering."""
    calls = []

    def reply(body):
        calls.append(body)
        slow = len(calls) > 1
        return Reply(chunks=("first", " answer"), usage=ONE_TOKEN, first_delay_s=30 if slow else 0)

    script.reply = reply
    victim = WebProcess(name="victim", LLM_BASE_URL=provider.base_url, LLM_API_KEY="k", **environment).start().wait()
    lost = threading.Thread(target=lambda: _ignore_hangup(lambda: post(victim, alice, session)))
    lost.start()
    while len(calls) < 2:
        time.sleep(0.02)
    time.sleep(0.2)
    return victim, lost


def _ignore_hangup(work):
    try:
        work()
    except httpx.TransportError:
        return


def test_a_turn_recovered_after_a_kill_keeps_the_price_it_opened_at(webs, provider, script):
    alice = make_person("alice", credits="100")
    session = make_session(alice, "ann", "ben", model_alias="gpt-4o-mini")
    victim, lost = killed_in_the_second_call(provider, script, alice, session, ENVIRONMENT)
    turn = Turn.objects.get(session_id=session)
    edit_in_the_admin(webs[0], "gpt-4o-mini", "5.0000")
    victim.kill()
    lost.join()
    assert Turn.objects.get(id=turn.id).status == "running"
    deadline = time.monotonic() + 20
    while recover_lost_turns() == 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    turn.refresh_from_db()
    assert (turn.status, turn.error_code) == ("interrupted", "turn_interrupted")
    events = LLMCallEvent.objects.filter(turn_id=turn.id).order_by("call_index")
    assert [(e.status, e.usage_source, e.credits_charged) for e in events] == [
        ("success", "provider", Decimal(1)),
        ("error", "none", Decimal(0)),
    ]
    assert events[1].usage_flags == ["process_died"]
    assert {event.multiplier for event in events} == {Decimal(1)}
    contents = Message.objects.filter(turn_id=turn.id).order_by("id").values_list("agent_key", "content")
    assert list(contents) == [("", "hi"), ("ann", "first answer")]
    wallet = CreditWallet.objects.get(user_id=alice.id)
    assert (wallet.balance, wallet.held) == (Decimal(99), 0)
    assert CreditHold.objects.get(reference_id=turn.id).status == "settled"
    script.reply = Reply(usage=ONE_TOKEN)
    assert post(webs[1], alice, session).json()["usage"]["credits_charged"] == "10.00000000"
    edit_in_the_admin(webs[1], "gpt-4o-mini", "1.0000")


def test_a_session_blocked_by_a_dead_turn_is_free_once_its_lease_ran_out(webs, provider, script):
    alice = make_person("alice", credits="100")
    session = make_session(alice, "ann", "ben", model_alias="gpt-4o-mini")
    victim, lost = killed_in_the_second_call(provider, script, alice, session, ENVIRONMENT)
    victim.kill()
    lost.join()
    script.reply = Reply(usage=ONE_TOKEN)
    assert post(webs[0], alice, session).json()["code"] == "turn_in_progress"
    time.sleep(2.5)
    assert post(webs[0], alice, session).status_code == 201
    assert sorted(Turn.objects.filter(session_id=session).values_list("turn_index", "status")) == [
        (1, "interrupted"),
        (2, "completed"),
    ]


def test_settle_interrupted_is_harmless_when_nothing_is_lost(webs, capsys):
    call_command("settle_interrupted")
    assert capsys.readouterr().out == "0 interrupted turns settled.\n0 interrupted completions settled.\n"


def test_a_drained_process_answers_the_turn_it_runs_and_takes_no_other(provider, script):
    script.reply = Reply(chunks=tuple("abcd"), usage=ONE_TOKEN, delay_s=0.4)
    alice = make_person("alice", credits="100")
    session = make_session(alice, "mini", model_alias="gpt-4o-mini")
    web = WebProcess(name="drained", LLM_BASE_URL=provider.base_url, **ENVIRONMENT).start().wait()
    answers = []
    running = threading.Thread(target=lambda: answers.append(post(web, alice, session)))
    running.start()
    while not Turn.objects.filter(session_id=session).exists():
        time.sleep(0.02)
    assert web.stop() in GRACEFUL
    running.join()
    assert (answers[0].status_code, answers[0].json()["status"]) == (201, "completed")
    with pytest.raises(httpx.TransportError):
        post(web, alice, session)


def test_a_drained_process_ends_a_turn_whose_client_has_gone(provider, script):
    script.reply = Reply(chunks=tuple("abcd"), usage=ONE_TOKEN, delay_s=0.5)
    alice = make_person("alice", credits="100")
    session = make_session(alice, "mini", model_alias="gpt-4o-mini")
    web = WebProcess(name="drained", LLM_BASE_URL=provider.base_url, **ENVIRONMENT).start().wait()
    with web.client(alice.token) as client, pytest.raises(httpx.ReadTimeout):
        client.post(f"/sessions/{session}/turns", json={"message": "hi"}, timeout=0.6)
    assert web.stop() in GRACEFUL
    turn = Turn.objects.get(session_id=session)
    assert turn.status == "completed"
    assert CreditWallet.objects.get(user_id=alice.id).balance == Decimal(99)


def test_a_turn_that_outlasts_the_drain_is_ended_billed_and_answered(provider, script):
    script.reply = Reply(chunks=("some text", "never"), usage=ONE_TOKEN, delay_s=30)
    alice = make_person("alice", credits="100")
    waited, watched = (make_session(alice, key, model_alias="gpt-4o-mini") for key in ("ann", "ben"))
    web = WebProcess(name="drained", LLM_BASE_URL=provider.base_url, DRAIN_TIMEOUT_S="1", **ENVIRONMENT).start().wait()
    answers, streams = [], []

    def stream():
        with web.client(alice.token) as client:
            streams.append(client.post(f"/sessions/{watched}/turns/stream", json={"message": "hi"}).text)

    threads = [
        threading.Thread(target=lambda: answers.append(post(web, alice, waited))),
        threading.Thread(target=stream),
    ]
    for thread in threads:
        thread.start()
    while Turn.objects.filter(user_id=alice.id).count() < 2:
        time.sleep(0.02)
    time.sleep(0.5)
    started = time.monotonic()
    assert web.stop() in GRACEFUL
    assert time.monotonic() - started < 15
    for thread in threads:
        thread.join()
    assert (answers[0].status_code, answers[0].json()["status"]) == (201, "interrupted")
    assert answers[0].json()["messages"][1]["content"] == "some text"
    last = sse(streams[0])[-1]
    assert (last[1], last[2]["code"], last[2]["status"]) == ("error", "turn_interrupted", "interrupted")
    charged = {event.credits_charged for event in LLMCallEvent.objects.filter(user_id=alice.id)}
    assert len(charged) == 1
    assert charged.pop() > 0


def test_a_process_paused_while_it_opens_a_turn_stops_nobody_else(webs, provider, script):
    """Its locks end by PostgreSQL's own clock, and the leases of others are renewed whatever waits for those locks."""
    script.reply = Reply(chunks=tuple("abcdefgh"), usage=ONE_TOKEN, delay_s=1)
    alice, bob = make_person("alice", credits="100"), make_person("bob", credits="100")
    alices, bobs = (make_session(person, "mini", model_alias="gpt-4o-mini") for person in (alice, bob))
    victim = WebProcess(name="victim", LLM_BASE_URL=provider.base_url, **ENVIRONMENT).start().wait()
    with transaction.atomic():
        # alice's wallet is locked, so that the victim stops with her turn inserted and not committed.
        ledger.get_or_create_wallet(user_id=alice.id)
        opening = threading.Thread(target=lambda: _ignore_hangup(lambda: post(victim, alice, alices)))
        opening.start()
        time.sleep(1)
        victim.process.send_signal(signal.SIGSTOP)
    others = [threading.Thread(target=lambda: _ignore_hangup(lambda: post(webs[0], alice, alices))) for _ in range(10)]
    for thread in others:
        thread.start()
    answer = post(webs[0], bob, bobs)
    assert (answer.status_code, answer.json()["status"]) == (201, "completed")
    victim.kill()
    for thread in (opening, *others):
        thread.join()


def test_an_outage_longer_than_the_lease_loses_no_finished_call(webs, script):
    script.reply = Reply(chunks=tuple("abcd"), usage=ONE_TOKEN, delay_s=0.5)
    alice = make_person("alice", credits="100")
    session = make_session(alice, "mini", model_alias="gpt-4o-mini")
    answers = []
    running = threading.Thread(target=lambda: answers.append(post(webs[0], alice, session)))
    running.start()
    while not Turn.objects.filter(session_id=session).exists():
        time.sleep(0.02)
    config = connection.settings_dict
    name = config["NAME"]
    connection.close()
    with psycopg.connect(
        host=config["HOST"], port=config["PORT"], user=config["USER"], password=config["PASSWORD"], dbname="postgres",
        autocommit=True,
    ) as beside:  # fmt: skip
        beside.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
        try:
            beside.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            # Twice the lease and its grace.
            time.sleep(5)
        finally:
            beside.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')
    # Nobody's request fails for a connection that died in the pool.
    with webs[1].client(alice.token) as client:
        assert [client.get("/users/me/wallet").status_code for _ in range(10)] == [200] * 10
    running.join()
    assert (answers[0].status_code, answers[0].json()["status"]) == (201, "completed")
    assert CreditWallet.objects.get(user_id=alice.id).balance == Decimal(99)
