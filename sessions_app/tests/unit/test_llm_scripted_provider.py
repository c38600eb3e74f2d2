"""The scripted provider itself: what it is asked to do is what a plain client sees."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from sessions_app.tests.scripted_provider import Reply, ScriptedProvider

ROOT = Path(__file__).resolve().parents[3]
BODY = {"model": "m", "messages": [], "stream": True}


def test_its_script_sees_the_request_and_its_journal_keeps_it() -> None:
    with ScriptedProvider(lambda body: Reply(chunks=(body["model"],))) as provider:
        answer = httpx.post(f"{provider.base_url}/chat/completions", json=BODY, headers={"X-A": "b"}, trust_env=False)
        assert '"content": "m"' in answer.text
        assert answer.text.endswith("data: [DONE]\n\n")
        assert provider.wait_for(lambda: provider.journal[0].is_complete)
        exchange = provider.journal[0]
    assert (exchange.method, exchange.path, exchange.body) == ("POST", "/v1/chat/completions", BODY)
    assert (exchange.headers["x-a"], exchange.sent_text, exchange.client_closed_at) == ("b", "m", None)


def test_it_lists_a_model_and_knows_no_other_path() -> None:
    with ScriptedProvider() as provider:
        assert httpx.get(f"{provider.base_url}/models", trust_env=False).json()["data"][0]["id"] == "scripted"
        assert httpx.get(f"{provider.base_url}/else", trust_env=False).status_code == 404


def test_a_script_that_fails_is_a_500_and_kept_for_the_test() -> None:
    def fail(_body: object) -> Reply:
        raise KeyError("oops")

    with ScriptedProvider(fail) as provider:
        assert httpx.post(f"{provider.base_url}/chat/completions", json=BODY, trust_env=False).status_code == 500
        assert [type(error) for error in provider.errors] == [KeyError]


def test_it_notices_when_and_that_a_client_leaves() -> None:
    with ScriptedProvider(lambda _body: Reply(chunks=("a",) * 1_000, delay_s=0.01)) as provider:
        with httpx.stream("POST", f"{provider.base_url}/chat/completions", json=BODY, trust_env=False) as answer:
            next(answer.iter_raw())
        assert provider.wait_for(lambda: provider.journal[0].client_closed_at is not None, timeout_s=1.0)
        assert 1 <= len(provider.journal[0].sent_text) < 100
        assert not provider.journal[0].is_complete


def test_it_stops_while_answers_are_open() -> None:
    reply = Reply(fault="stall", chunks=("a",), fault_after=1)
    with ScriptedProvider(lambda _body: reply) as provider, httpx.Client(trust_env=False) as client:
        with client.stream("POST", f"{provider.base_url}/chat/completions", json=BODY) as answer:
            pieces = answer.iter_raw()
            next(pieces)
            provider.stop()
            with pytest.raises(httpx.TransportError):
                next(pieces)


def test_it_answers_each_message_with_a_text_of_its_own_once_enough_have_asked() -> None:
    command = [sys.executable, "-m", "sessions_app.tests.scripted_provider", "--chunks", "2", "--at-once", "2"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process, ThreadPoolExecutor(2) as threads:
        url = f"{process.stdout.readline().strip()}/chat/completions"
        bodies = [{**BODY, "messages": [{"role": "user", "content": name}]} for name in ("alice", "bob")]
        first = threads.submit(httpx.post, url, json=bodies[0], trust_env=False, timeout=20)
        with pytest.raises(TimeoutError):
            first.result(timeout=0.2)
        second = threads.submit(httpx.post, url, json=bodies[1], trust_env=False, timeout=20)
        for name, answer in (("alice", first), ("bob", second)):
            assert f'"content": "{name} 0, "' in answer.result().text
            assert f'"content": "{name} 1, "' in answer.result().text
        process.terminate()


def test_it_runs_as_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "sessions_app.tests.scripted_provider", "--text", "one two", "--delay", "0.01"]
    usage = {"prompt_tokens": 7, "completion_tokens": 2}
    process = subprocess.Popen([*command, "--usage", json.dumps(usage)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        base_url = process.stdout.readline().strip()
        text = httpx.post(f"{base_url}/chat/completions", json=BODY, trust_env=False).text
        assert '"content": "one"' in text
        assert '"content": " two"' in text
        assert json.dumps(usage) in text
    finally:
        process.terminate()
        assert process.wait(timeout=5) == 0
        process.stdout.close()  # type: ignore[union-attr]
