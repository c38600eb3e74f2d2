"""A wallet that somebody else holds locked: what must write it is told to try again, what only looks is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.conf import settings

from billing.models import CreditHold, CreditTransaction, SpendingLimit
from billing.tests.race.forcing import somebody_else
from sessions_app.models import Agent, Completion, Turn
from sessions_app.tests.makers import make_person, make_session

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]
ASKED = {"message": "hi", "max_output_tokens": 100}
DIRECT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100}


@contextmanager
def locked(person) -> Iterator[None]:
    with somebody_else() as other:
        other.execute("BEGIN")
        other.execute("SELECT 1 FROM credit_wallets WHERE user_id = %s FOR UPDATE", [person.id])
        yield
        other.execute("ROLLBACK")


def test_what_must_write_a_locked_wallet_is_409_and_writes_nothing(web):
    alice, staff = make_person("alice"), make_person("staff", is_staff=True, is_superuser=True)
    session, streamed = make_session(alice, "ann"), make_session(alice, "ben")
    ann, ben = (str(Agent.objects.get(user_id=alice.id, agent_key=key).id) for key in ("ann", "ben"))
    cap = {"subject": "agent", "subject_id": ann, "period": "day", "amount": "1"}
    with web.client(alice.token) as client, web.client(staff.token) as desk:
        limit = client.post("/users/me/spending-limits", json=cap).json()["id"]
        requests = [
            (client, "POST", f"/sessions/{session}/turns", ASKED),
            (client, "POST", f"/sessions/{streamed}/turns/stream", ASKED),
            (client, "POST", f"{web.url}/v1/chat/completions", DIRECT),
            (client, "POST", "/users/me/spending-limits", {**cap, "subject_id": ben}),
            (client, "PATCH", f"/users/me/spending-limits/{limit}", {"amount": "2"}),
            (client, "DELETE", f"/users/me/spending-limits/{limit}", None),
            (desk, "POST", f"/admin/users/{alice.id}/spending-limits", {**cap, "period": "month"}),
            (desk, "POST", f"/admin/wallets/{alice.id}/grant", {"amount": "1", "reason": "x"}),
        ]  # fmt: skip
        with locked(alice), ThreadPoolExecutor(len(requests)) as threads:
            sent = [threads.submit(who.request, method, path, json=body) for who, method, path, body in requests]
            answers = [future.result() for future in sent]
        for (_, method, path, _), answer in zip(requests, answers, strict=True):
            shown = answer.status_code, answer.json()["code"], answer.headers["retry-after"]
            assert shown == (409, "wallet_busy", "1"), (method, path)
        assert not Turn.objects.filter(user_id=alice.id).exists()
        assert not Completion.objects.filter(user_id=alice.id).exists()
        assert not CreditHold.objects.filter(user_id=alice.id).exists()
        assert CreditTransaction.objects.filter(user_id=alice.id).count() == 1
        assert [str(row.amount) for row in SpendingLimit.objects.filter(user_id=alice.id)] == ["1.00000000"]
        assert client.post(f"/sessions/{session}/turns", json=ASKED).status_code == 201


def test_what_only_looks_at_a_locked_wallet_does_not_wait(web):
    alice = make_person("alice")
    session = make_session(alice, "ann")
    with web.client(alice.token) as client, locked(alice):
        began = time.monotonic()
        wallet = client.get("/users/me/wallet")
        estimate = client.post(f"/sessions/{session}/turns/estimate", json=ASKED)
        limits = client.get("/users/me/spending-limits")
        elapsed_s = time.monotonic() - began
    assert [answer.status_code for answer in (wallet, estimate, limits)] == [200, 200, 200]
    assert (wallet.json()["balance"], estimate.json()["available"]) == ("10.00000000", "10.00000000")
    assert elapsed_s < settings.DATABASE_LOCK_TIMEOUT_MS / 1_000
