"""What providers really send, through a real web process to the bill: exact pools, credits and debits for each shape.

Each provider of the table is configured in LLM_PROVIDERS with its own shape, and each alias names its provider. The
answers are the recorded ones of `fixtures/usage`, byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from billing.models import CreditHold, CreditTransaction, CreditWallet, LLMCallEvent
from pricing.models import PricingVersion
from pricing.services import put_model
from sessions_app.llm.usage import read_evidence
from sessions_app.tests.e2e.conftest import API_KEY
from sessions_app.tests.e2e.servers import WebProcess, web_processes
from sessions_app.tests.makers import make_person, make_session, make_standalone_session
from sessions_app.tests.scripted_provider import Reply, ScriptedProvider
from sessions_app.tests.usage_cases import CASES, FOLDER, UsageCase, case_id

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]

ANSWERS = [case for case in CASES if case.is_answer]
KEY_OF_ITS_OWN = "canary-other-key-91ce"


def provider_of(case: UsageCase) -> str:
    return f"{case.shape}-{case.chunks}"


def alias_of(case: UsageCase) -> str:
    return f"{case.name}-{case.shape}"


def recorded(body: dict[str, Any]) -> Reply:
    """Models are named after the files that they answer with."""
    (file,) = FOLDER.glob(f"{body['model']}.*")
    return Reply(raw=file.read_bytes(), as_json=file.suffix == ".json")


@pytest.fixture(scope="module")
def web(committed: None, provider: ScriptedProvider) -> Iterator[WebProcess]:
    entries = {}
    for case in ANSWERS:
        options = {"usage_shape": case.shape, "usage_chunks": case.chunks, "api_key_env": "OTHER_LLM_KEY"}
        entries[provider_of(case)] = {"base_url": provider.url_of(provider_of(case)), **options}
        provider.scripts[provider_of(case)] = recorded
        _make_alias(alias_of(case), provider_of(case), case.name)
    _make_alias("unconfigured", "not-there", "openai_cached_stream")
    environment = {"LLM_PROVIDERS": json.dumps(entries), "OTHER_LLM_KEY": KEY_OF_ITS_OWN}
    with web_processes(1, LLM_BASE_URL=provider.base_url, LLM_API_KEY=API_KEY, **environment) as (process,):
        yield process


def _make_alias(alias: str, provider: str, model: str) -> None:
    fields = {"multiplier": Decimal(1), "provider": provider, "provider_model": model, "context_tokens": 500_000}
    active = PricingVersion.objects.get(status="active").version
    put_model(pricing_version=active, model_alias=alias, fields=fields, actor="test")


@pytest.mark.parametrize("case", ANSWERS, ids=case_id)
def test_each_shape_is_billed_exactly(web: WebProcess, provider: ScriptedProvider, case: UsageCase) -> None:
    alice = make_person("alice")
    session = make_standalone_session(alice, model_alias=alias_of(case))
    provider.journal.clear()
    with web.client(alice.token) as client:
        turn = client.post(f"/sessions/{session}/turns", json={"message": "Four words, please."}).json()
        (line,) = client.get(f"/turns/{turn['id']}/bill").json()["calls"]
    assert turn["status"] == "completed"
    assert turn["usage"]["credits_burned"] == line["credits_burned"] == case.burned
    assert turn["usage"]["credits_charged"] == line["credits_charged"] == case.charged
    _check_the_line(line, case)
    _check_the_event(LLMCallEvent.objects.get(turn_id=turn["id"]), case)
    balance = Decimal(10) - Decimal(case.charged)
    assert (Decimal(turn["balance_after"]), CreditWallet.objects.get(user_id=alice.id).balance) == (balance, balance)
    # Only the provider of the alias was asked, with its own key.
    assert [exchange.path for exchange in provider.journal] == [f"/{provider_of(case)}/v1/chat/completions"]
    assert provider.journal[0].headers["authorization"] == f"Bearer {KEY_OF_ITS_OWN}"


def _check_the_line(line: dict[str, Any], case: UsageCase) -> None:
    pools = case.pools
    assert tuple(line["usage_flags"]) == flags_of(case)
    assert line["formula"] == (
        f"(0.35 x {pools.input_fresh} fresh + 0.35 x {pools.input_cache_write} cache-write + "
        f"0.1 x {pools.input_cached} cached + 1 x {pools.output} output) x 1 / 10000 = {case.charged}"
    )


def _check_the_event(event: LLMCallEvent, case: UsageCase) -> None:
    pools = case.pools
    counted = (
        event.input_tokens_fresh,
        event.input_tokens_cached,
        event.input_tokens_cache_write,
        event.output_tokens,
        event.reasoning_tokens,
        event.total_tokens,
    )
    assert counted == (
        pools.input_fresh,
        pools.input_cached,
        pools.input_cache_write,
        pools.output,
        pools.reasoning,
        pools.total,
    )
    assert (event.usage_source, event.status, tuple(event.usage_flags)) == ("provider", "success", flags_of(case))
    assert (event.provider, event.model_alias) == (provider_of(case), alias_of(case))
    # The model is stored as the provider named it, dated or not, and billed as the alias.
    assert event.provider_model == answered_model(case)
    assert (str(event.credits_burned), event.multiplier) == (case.burned, 1)
    debits = [str(-debit.amount) for debit in CreditTransaction.objects.filter(event_id=event.id)]
    assert debits == ([case.charged] if Decimal(case.charged) else [])
    assert read_evidence(event.raw_usage).pools(input_estimate=-1, output_estimate=-1) == pools


def flags_of(case: UsageCase) -> tuple[str, ...]:
    """A recorded prompt is far longer than the one that was held for, which is 0.41 credits with all its output."""
    return (*case.flags, "charge_above_hold") if Decimal(case.charged) > Decimal("0.5") else case.flags


def answered_model(case: UsageCase) -> str:
    text = case.file.read_text()
    return str(json.JSONDecoder().raw_decode(text[text.index("{") :])[0]["model"])


def test_a_room_with_agents_at_several_providers_is_one_bill(web: WebProcess) -> None:
    cases = {case.name: case for case in ANSWERS if case.shape == "auto"}
    chosen = [cases[name] for name in ("openai_nearly_all_cached", "anthropic_in_chunks", "xai_reasoning")]
    alice = make_person("alice", credits="20")
    session = make_session(alice, "ann", "ben", "cal", model_alias=alias_of(chosen[0]))
    with web.client(alice.token) as client:
        agents = {agent["agent_key"]: agent["id"] for agent in client.get("/agents").json()["results"]}
        for key, case in zip(("ann", "ben", "cal"), chosen, strict=True):
            assert client.patch(f"/agents/{agents[key]}", json={"model_alias": alias_of(case)}).status_code == 200
        turn = client.post(f"/sessions/{session}/turns", json={"message": "All of you."}).json()
        lines = client.get(f"/turns/{turn['id']}/bill").json()["calls"]
    assert [line["credits_charged"] for line in lines] == [case.charged for case in chosen]
    total = sum(Decimal(case.charged) for case in chosen)
    assert (turn["usage"]["credits_charged"], turn["balance_after"]) == (str(total), str(20 - total))


def test_an_answer_without_usage_is_estimated_and_says_so(web: WebProcess, provider: ScriptedProvider) -> None:
    provider.scripts["auto-cumulative"] = lambda _body: recorded({"model": "no_usage"})
    try:
        alice = make_person("alice")
        session = make_standalone_session(alice, model_alias="openai_cached_stream-auto")
        with web.client(alice.token) as client:
            turn = client.post(f"/sessions/{session}/turns", json={"message": "Four words, please."}).json()
    finally:
        provider.scripts["auto-cumulative"] = recorded
    event = LLMCallEvent.objects.get(turn_id=turn["id"])
    assert (event.usage_source, event.raw_usage, event.output_tokens) == ("estimated", None, 3)
    assert event.input_tokens_fresh > 0
    assert (event.input_tokens_cached, event.input_tokens_cache_write) == (0, 0)


def test_an_alias_whose_provider_is_not_configured_is_refused_before_any_hold(
    web: WebProcess, provider: ScriptedProvider
) -> None:
    alice = make_person("alice")
    session = make_standalone_session(alice, model_alias="unconfigured")
    provider.journal.clear()
    with web.client(alice.token) as client:
        answer = client.post(f"/sessions/{session}/turns", json={"message": "hi"})
        wallet = client.get("/users/me/wallet").json()
        listed = client.get("/models").text
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_model_alias")
    assert (wallet["balance"], wallet["held"]) == ("10.00000000", "0.00000000")
    assert ("unconfigured" in listed, "openai_cached_stream-auto" in listed) == (False, True)
    assert list(provider.journal) == []
    assert not CreditHold.objects.filter(user_id=alice.id).exists()
