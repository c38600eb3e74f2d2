"""One wallet behind two web processes: its first requests, holds that nearly fill it, and what a kill leaves held."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial

import pytest
from django.contrib.auth import get_user_model
from knox.models import AuthToken

from billing.models import CreditGrant, CreditHold, CreditTransaction, CreditWallet, LLMCallEvent
from billing.tests.race.forcing import failing_settlements
from config.core.ids import uuid7
from config.core.tests.racing import at_once
from sessions_app.models import Turn
from sessions_app.tests.e2e.servers import WebProcess
from sessions_app.tests.makers import PASSWORD, Person, make_person, make_session
from sessions_app.tests.scripted_provider import Reply
from sessions_app.turns.recovery import recover_lost_turns

WEB_PROCESSES = 2
ENVIRONMENT = {"BETA_GRANT_CREDITS": "3", "TURN_LEASE_S": "2", "LLM_READ_TIMEOUT_S": "60"}
pytestmark = [pytest.mark.long, pytest.mark.server, pytest.mark.usefixtures("committed")]
# 1,000 tokens of gpt-4o cost 0.2 credits.
USAGE = {"prompt_tokens": 0, "completion_tokens": 1_000}
KILLED = 200
ASKED = {"message": "hi", "max_output_tokens": 1_000}


def post(web, person, session):
    with web.client(person.token) as client:
        return client.post(f"/sessions/{session}/turns", json=ASKED)


def newcomer():
    """Somebody with a token and no wallet."""
    user = get_user_model().objects.create_user(email=f"new-{uuid7().hex[-12:]}@example.com", password=PASSWORD)
    return Person(user.pk, user.email, AuthToken.objects.create(user)[1])


@pytest.mark.parametrize("what", ["look", "turn"])
def test_twenty_first_requests_make_one_wallet_with_one_grant(webs, script, what):
    script.reply = Reply(usage=USAGE)
    alice = newcomer()
    sessions = [make_session(alice, "ann") for _ in range(20)] if what == "turn" else []
    assert not CreditWallet.objects.filter(user_id=alice.id).exists()

    def first(number):
        web = webs[number % 2]
        if what == "turn":
            return post(web, alice, sessions[number])
        with web.client(alice.token) as client:
            return client.get("/users/me/wallet")

    answers = at_once(*[lambda n=n: first(n) for n in range(20)])
    grant = CreditGrant.objects.get(user_id=alice.id)
    assert (grant.kind, grant.campaign, grant.amount) == ("beta", "welcome", Decimal(3))
    wallet = CreditWallet.objects.get(user_id=alice.id)
    debits = CreditTransaction.objects.filter(user_id=alice.id, kind="debit").count()
    assert (wallet.balance, wallet.held) == (Decimal(3) - Decimal("0.2") * debits, 0)
    statuses = sorted(answer.status_code for answer in answers)
    # A hold is 0.20147: fourteen fit into 3 at once, and more where some have settled before others ask.
    assert statuses == ([200] * 20 if what == "look" else [201] * debits + [402] * (20 - debits))
    assert what == "look" or debits >= 14


def test_holds_that_fill_sixty_per_cent_refuse_nobody_and_a_refusal_says_what_the_wallet_says(webs, script):
    script.reply = Reply(usage=USAGE, first_delay_s=1.5)
    # Three holds of 0.20147 are 60 % of this.
    alice = make_person("alice", credits="1.00735")
    sessions = [make_session(alice, "ann") for _ in range(3)]
    started = threading.Barrier(3)

    def running(number):
        started.wait()
        return post(webs[number % 2], alice, sessions[number])

    beside = [make_session(alice, "ann") for _ in range(2)]
    dear = make_session(alice, "ann", "ben")
    with ThreadPoolExecutor(6) as pool:
        first = [pool.submit(running, number) for number in range(3)]
        while CreditHold.objects.filter(user_id=alice.id, status="open").count() < 3:
            time.sleep(0.02)
        with webs[0].client(alice.token) as client:
            wallet = client.get("/users/me/wallet").json()
            body = {**ASKED, "max_output_tokens": 3_000}
            refused = client.post(f"/sessions/{dear}/turns", json=body)
            estimate = client.post(f"/sessions/{dear}/turns/estimate", json=body).json()
        second = [pool.submit(post, web, alice, session) for web, session in zip(webs, beside, strict=True)]
        answers = [future.result() for future in (*first, *second)]
    assert [answer.status_code for answer in answers] == [201] * 5
    problem = refused.json()
    assert (refused.status_code, problem["code"]) == (402, "insufficient_credits")
    assert {name: problem[name] for name in ("balance", "held", "available")} == {
        "balance": "1.00735000", "held": "0.60441000", "available": "0.40294000",
    }  # fmt: skip
    assert {name: wallet[name] for name in ("balance", "held", "available")} == {
        name: problem[name] for name in ("balance", "held", "available")
    }
    assert problem["required"] == estimate["credits_first_call"]
    wallet = CreditWallet.objects.get(user_id=alice.id)
    assert (wallet.balance, wallet.held) == (Decimal("0.00735"), 0)


def test_errors_in_settling_and_retries_at_both_processes_are_one_debit(webs, script):
    script.reply = Reply(chunks=("fine",), usage=USAGE)
    alice = make_person("alice")
    session = make_session(alice, "ann")

    def retrying(web):
        """As a client does: the same request, until it is not told that the first one is still running."""
        key = {"Idempotency-Key": "once"}
        with web.client(alice.token) as client:
            while (answer := client.post(f"/sessions/{session}/turns", json=ASKED, headers=key)).status_code == 409:
                assert answer.json()["code"] == "idempotency_in_progress"
                time.sleep(0.02)
        return answer

    with failing_settlements("40001", times=6) as inserted:
        answers = at_once(*[partial(retrying, web) for web in (*webs, *webs)])
        # Six that were rolled back, and the one that stayed.
        assert inserted() == 7
    assert [answer.status_code for answer in answers] == [201] * 4
    [turn] = {answer.json()["id"] for answer in answers}
    assert {answer.json()["balance_after"] for answer in answers} == {"9.80000000"}
    assert LLMCallEvent.objects.filter(turn_id=turn).count() == 1
    assert [entry.amount for entry in CreditTransaction.objects.filter(reference_id=turn)] == [Decimal("-0.2")]
    assert CreditHold.objects.get(reference_id=turn).status == "settled"
    wallet = CreditWallet.objects.get(user_id=alice.id)
    assert (wallet.balance, wallet.held) == (Decimal("9.8"), 0)


def test_a_grant_that_is_sent_by_eight_at_once_with_one_key_is_given_once(webs):
    alice, staff = make_person("alice"), make_person("staff", is_staff=True, is_superuser=True)

    def granting(number):
        gift, key = {"amount": "5", "reason": "a gift"}, {"Idempotency-Key": "gift"}
        with webs[number % 2].client(staff.token) as desk:
            return desk.post(f"/admin/wallets/{alice.id}/grant", json=gift, headers=key)

    answers = at_once(*[partial(granting, number) for number in range(8)])
    made = [answer for answer in answers if answer.status_code == 201]
    busy = [answer for answer in answers if answer.status_code != 201]
    assert [(answer.status_code, answer.json()["code"]) for answer in busy] == [(409, "wallet_busy")] * len(busy)
    [entry] = {answer.json()["id"] for answer in made}
    assert sorted("idempotency-replayed" in answer.headers for answer in made) == [False] + [True] * (len(made) - 1)
    row = CreditTransaction.objects.get(user_id=alice.id, kind="grant", reason="a gift")
    assert (str(row.id), row.amount) == (entry, Decimal(5))
    assert CreditWallet.objects.get(user_id=alice.id).balance == Decimal(15)


def test_two_hundred_turns_of_a_killed_process_hold_nothing_once_they_are_swept(webs, provider, script):
    """Their first call had ended and been journaled, their second was under way: that is what is billed."""
    script.reply = lambda body: Reply(usage=USAGE, first_delay_s=60 if "ben" in str(body["messages"][0]) else 0)
    alice = make_person("alice", credits="100")
    sessions = [make_session(alice, "ann", "ben") for _ in range(KILLED)]
    victim = WebProcess(name="victim", LLM_BASE_URL=provider.base_url, LLM_API_KEY="k", **ENVIRONMENT).start().wait()
    with ThreadPoolExecutor(KILLED) as pool:
        for session in sessions:
            pool.submit(post, victim, alice, session)
        deadline = time.monotonic() + 60
        while second_calls(alice) < KILLED:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert CreditWallet.objects.get(user_id=alice.id).held > Decimal(80)
        victim.kill()
    swept = 0
    while swept < KILLED:
        assert time.monotonic() < deadline + 30
        # As two sweepers at once would.
        swept += sum(at_once(recover_lost_turns, recover_lost_turns))
        time.sleep(0.2)
    wallet = CreditWallet.objects.get(user_id=alice.id)
    assert (wallet.balance, wallet.held) == (Decimal(60), 0)
    assert not CreditHold.objects.filter(user_id=alice.id, status="open").exists()
    events = LLMCallEvent.objects.filter(user_id=alice.id)
    assert [events.filter(credits_charged=charged).count() for charged in (Decimal("0.2"), 0)] == [KILLED, KILLED]
    assert CreditTransaction.objects.filter(user_id=alice.id, kind="debit").count() == KILLED
    assert set(Turn.objects.filter(user_id=alice.id).values_list("status", flat=True)) == {"interrupted"}
    # The session is free at the other process.
    script.reply = Reply(usage=USAGE)
    assert post(webs[0], alice, sessions[0]).status_code == 201


def second_calls(person):
    return CreditHold.objects.filter(user_id=person.id, shares__1__isnull=False).count()
