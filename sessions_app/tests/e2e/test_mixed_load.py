"""Five hundred turns of every kind at once; the ledger adds up to the last place."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from django.core.management import call_command
from django.db.models import Sum

from billing.models import CreditTransaction, CreditWallet, LLMCallEvent
from sessions_app.models import Turn
from sessions_app.tests.makers import make_person, make_session, make_standalone_session
from sessions_app.tests.scripted_provider import Reply

ENVIRONMENT = {"LLM_MAX_RETRIES": "0", "CREDIT_ENFORCEMENT": "warn"}
pytestmark = [pytest.mark.long, pytest.mark.server, pytest.mark.usefixtures("committed"), pytest.mark.timeout(300)]

TURNS, THREADS, USERS = 500, 16, 20


def random_reply(dice: random.Random) -> Reply:
    usage = {
        "prompt_tokens": dice.randint(1, 5_000),
        "completion_tokens": dice.randint(0, 3_000),
        "prompt_tokens_details": {"cached_tokens": dice.randint(0, 6_000)},
    }
    return dice.choices(
        [
            Reply(chunks=("some ", "text"), usage=usage),
            Reply(chunks=("no usage",), usage=None),
            Reply(status=500, error={"message": "broken"}),
            Reply(status=429, headers={"Retry-After": "60"}),
            Reply(chunks=("half", "never"), fault="cut", fault_after=1),
            Reply(fault="error_frame", error={"message": "overloaded"}, fault_after=0),
        ],
        weights=[70, 6, 6, 6, 6, 6],
    )[0]


def test_five_hundred_mixed_turns_add_up(web, provider, script, capsys):
    dice = random.Random(20260220)
    script.reply = lambda _: random_reply(dice)
    people = [make_person(f"user{n}", credits="3") for n in range(USERS)]
    aliases = ["deepseek", "gpt-4o", "gemini-pro", "claude-haiku"]
    sessions = []
    for number in range(TURNS):
        person, alias = people[number % USERS], aliases[number % len(aliases)]
        kind = number % 3
        if kind == 0:
            sessions.append((person, make_session(person, "ann", "ben", "cal", model_alias=alias), "hi"))
        elif kind == 1:
            sessions.append((person, make_session(person, "ann", "ben", mode="manual"), "@ben and @ann?"))
        else:
            sessions.append((person, make_standalone_session(person, f"solo{number}", model_alias=alias), "hi"))
    provider.journal.clear()

    def run(item):
        person, session, message = item
        with web.client(person.token) as client:
            return client.post(f"/sessions/{session}/turns", json={"message": message}).status_code

    with ThreadPoolExecutor(THREADS) as threads:
        codes = Counter(threads.map(run, sessions))
    assert sum(codes.values()) == TURNS
    assert set(codes) <= {201, 502, 503}
    ids = [person.id for person in people]
    statuses = Counter(Turn.objects.filter(user_id__in=ids).values_list("status", flat=True))
    assert statuses["completed"] + statuses["partial"] == codes[201]
    assert statuses["failed"] == codes[502] + codes[503]
    events = LLMCallEvent.objects.filter(user_id__in=ids)
    assert events.count() == len(provider.journal)
    for person in people:
        wallet = CreditWallet.objects.get(user_id=person.id)
        total = CreditTransaction.objects.filter(user_id=person.id).aggregate(total=Sum("amount"))["total"]
        charged = events.filter(user_id=person.id).aggregate(total=Sum("credits_charged"))["total"]
        assert wallet.balance == total == Decimal(3) - charged
        assert wallet.held == 0
    assert (
        CreditTransaction.objects.filter(user_id__in=ids, kind="debit").count()
        == events.filter(credits_charged__gt=0).count()
    )
    call_command("check_ledger")
    assert "every invariant holds" in capsys.readouterr().out
