"""Clients that know nothing of us read our streams, silent ones too."""

from __future__ import annotations

import httpx
import pytest
from httpx_sse import connect_sse

from billing.models import CreditTransaction
from sessions_app.tests.makers import make_person, make_session
from sessions_app.tests.scripted_provider import Reply

ENVIRONMENT = {"LLM_READ_TIMEOUT_S": "90"}
pytestmark = [pytest.mark.long, pytest.mark.server, pytest.mark.usefixtures("committed")]

USAGE = {"prompt_tokens": 100, "completion_tokens": 65}
# A provider that thinks for this long, and clients and proxies that give up a connection that is silent for a third.
SILENCE_S, PATIENCE_S = 61, 20


@pytest.mark.parametrize("where", ["turns/stream", "/v1/chat/completions"])
def test_a_minute_of_silence_closes_no_stream(web, script, where):
    script.reply = Reply(chunks=("Well", "."), usage=USAGE, first_delay_s=SILENCE_S if where[0] != "/" else 24)
    alice = make_person("alice", credits="1")
    path, body = f"/api/v1/sessions/{make_session(alice, 'ann')}/{where}", {"message": "hi"}
    if where.startswith("/v1"):
        path, body = where, {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    headers = {"Authorization": f"Bearer {alice.token}"}
    with (
        httpx.Client(base_url=web.url, headers=headers, timeout=PATIENCE_S) as client,
        connect_sse(client, "POST", path, json=body) as source,
    ):
        events = list(source.iter_sse())
    if where.startswith("/v1"):
        assert events[-1].data == "[DONE]"
        assert "".join(event.json()["choices"][0]["delta"].get("content", "") for event in events[:-1]) == "Well."
    else:
        assert "".join(event.json()["delta"] for event in events if event.event == "chunk") == "Well."
        assert (events[-1].event, events[-1].json()["status"]) == ("done", "completed")
        assert [int(event.id) for event in events] == list(range(1, len(events) + 1))
    debits = CreditTransaction.objects.filter(user_id=alice.id, kind="debit")
    assert [str(debit.amount) for debit in debits] == ["-0.02000000"]
