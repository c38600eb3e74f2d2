from __future__ import annotations

import json
from typing import Any

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

from sessions_app.llm.providers import (
    Provider,
    ProviderConfigError,
    configured,
    gateway_settings,
    parse_providers,
)

KEY = "sk-canary-0123456789abcdef"
SHAPES = "auto, openai, openrouter, anthropic, gemini"
LOCAL = {"base_url": "http://127.0.0.1:8123/v1", "api_key_env": "LOCAL_KEY", "tool_mode": "json_schema"}


def providers(**entries: Any) -> str:
    return json.dumps(entries)


def test_nothing_configured_is_no_provider() -> None:
    assert parse_providers("") == {}
    assert parse_providers("  ") == {}
    assert parse_providers("{}") == {}


def test_an_entry_is_completed_with_defaults() -> None:
    assert parse_providers(providers(other={"base_url": "https://api.example.com/v1/"})) == {
        "other": {
            "base_url": "https://api.example.com/v1",
            "api_key_env": "",
            "tool_mode": "native",
            "usage_shape": "auto",
            "usage_chunks": "cumulative",
            "tokenize": "auto",
        }
    }


def test_every_option_of_an_entry_is_taken(settings: Any) -> None:
    options = {"tool_mode": "native", "usage_shape": "gemini", "usage_chunks": "incremental", "tokenize": "vllm"}
    settings.LLM_BASE_URL = ""
    settings.LLM_PROVIDERS = {"a": {"base_url": "http://x/v1", **options}}
    assert configured() == {"a": Provider("a", "http://x/v1", "", "native", "gemini", "incremental", "vllm")}


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        ("{", "not JSON"),
        ("[" * 99_999, "not JSON"),
        ("[]", "expected a JSON object"),
        ("7", "expected a JSON object"),
        (providers(Upper=LOCAL), "a name has"),
        (providers(default=LOCAL), "'default' is the provider of LLM_BASE_URL"),
        (providers(a=7), "a: expected an object"),
        (providers(a={}), "a: base_url: expected an http or https URL"),
        (providers(a={"base_url": 7}), "a: base_url: expected"),
        (providers(a={"base_url": "ftp://x/v1"}), "a: base_url: expected"),
        (providers(a={"base_url": "http://x:99999/v1"}), "a: base_url: not a URL"),
        (providers(a={"base_url": "http://u:p@x/v1"}), "a: base_url: no user"),
        (providers(a={"base_url": "http://x/v1?key=1"}), "a: base_url: no user"),
        (providers(a={**LOCAL, "tool_mode": "magic"}), "a: tool_mode: expected one of native, json_schema"),
        (providers(a={**LOCAL, "usage_shape": "claude"}), f"a: usage_shape: expected one of {SHAPES}"),
        (providers(a={**LOCAL, "usage_shape": ["openai"]}), f"a: usage_shape: expected one of {SHAPES}"),
        (providers(a={**LOCAL, "usage_chunks": "summed"}), "a: usage_chunks: expected one of cumulative, incremental"),
        (providers(a={**LOCAL, "tokenize": True}), "a: tokenize: expected one of auto, llamacpp, vllm, off"),
        (providers(a={**LOCAL, "api_key_env": KEY}), "a: api_key_env: expected the name"),
        (providers(a={**LOCAL, "api_key": KEY}), "a: unknown field 'api_key'"),
    ],
)
def test_a_wrong_value_names_the_variable_and_never_the_key(raw: str, complaint: str) -> None:
    with pytest.raises(ProviderConfigError) as caught:
        parse_providers(raw)
    assert str(caught.value).startswith("LLM_PROVIDERS: ")
    assert complaint in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (7, "a: expected an object"),
        ({"base_url": "not a url"}, "a: base_url: expected an http or https URL"),
        ({**LOCAL, "usage_shape": "claude"}, f"a: usage_shape: expected one of {SHAPES}"),
        ({**LOCAL, "usage_chunk": "incremental"}, "a: unknown field 'usage_chunk'"),
    ],
)
def test_a_wrong_value_stops_the_start_and_names_the_variable(settings: Any, entry: Any, complaint: str) -> None:
    settings.LLM_PROVIDERS = {"a": entry}
    with pytest.raises(ImproperlyConfigured) as caught:
        apps.get_app_config("sessions_app").ready()
    assert str(caught.value).startswith(f"LLM_PROVIDERS: {complaint}")


def test_a_provider_shows_no_key_in_its_repr() -> None:
    assert KEY not in repr(Provider("default", "http://x/v1", KEY))


def test_the_default_provider_comes_from_its_own_variables(settings: Any) -> None:
    settings.LLM_BASE_URL = "http://127.0.0.1:1/v1"
    settings.LLM_API_KEY = f"{KEY}\n"
    settings.LLM_PROVIDERS = {}
    assert configured() == {"default": Provider("default", "http://127.0.0.1:1/v1", KEY)}


def test_without_a_base_url_there_is_no_default_provider(settings: Any) -> None:
    settings.LLM_BASE_URL = ""
    settings.LLM_PROVIDERS = {}
    assert configured() == {}


def test_a_named_provider_takes_its_key_from_its_variable(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_KEY", KEY)
    settings.LLM_BASE_URL = ""
    settings.LLM_PROVIDERS = {"local": LOCAL, "open": {"base_url": "http://x/v1"}}
    assert configured() == {
        "local": Provider("local", "http://127.0.0.1:8123/v1", KEY, "json_schema"),
        "open": Provider("open", "http://x/v1"),
    }


def test_a_provider_whose_key_is_not_set_is_not_configured(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_KEY", raising=False)
    settings.LLM_BASE_URL = ""
    settings.LLM_PROVIDERS = {"local": LOCAL}
    assert configured() == {}


@pytest.mark.parametrize("key", ["sk-a b", "sk-a\nb", "sk-ä"])
def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(settings: Any, key: str) -> None:
    settings.LLM_BASE_URL = "http://127.0.0.1:1/v1"
    settings.LLM_API_KEY = key
    settings.LLM_PROVIDERS = {}
    with pytest.raises(ProviderConfigError) as caught:
        configured()
    assert str(caught.value).startswith("LLM_API_KEY: ")
    assert key not in str(caught.value)


def test_timeouts_and_retries_come_from_settings(settings: Any) -> None:
    settings.LLM_BASE_URL = ""
    settings.LLM_PROVIDERS = {}
    settings.LLM_CONNECT_TIMEOUT_S = 1.5
    settings.LLM_READ_TIMEOUT_S = 2.5
    settings.LLM_TOTAL_TIMEOUT_S = 3.5
    settings.LLM_MAX_RETRIES = 4
    found = gateway_settings()
    assert (found.connect_timeout_s, found.read_timeout_s, found.total_timeout_s, found.max_retries) == (
        1.5,
        2.5,
        3.5,
        4,
    )
