"""Which providers this deployment can call, and how patiently: the only file here that reads Django settings."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict, get_args
from urllib.parse import urlsplit

from django.conf import settings

from sessions_app.llm.usage_chunks import UsageChunks
from sessions_app.llm.usage_shapes import UsageShape

ToolMode = Literal["native", "json_schema"]
TokenizeMode = Literal["auto", "llamacpp", "vllm", "off"]

DEFAULT_PROVIDER = "default"
_VARIABLE = "LLM_PROVIDERS"
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_FIELDS = frozenset({"base_url", "api_key_env", "tool_mode", "usage_shape", "usage_chunks", "tokenize"})


class ProviderConfigError(ValueError):
    """A variable is wrong. The message names it and never repeats a value that may hold a key."""


class ProviderSpec(TypedDict):
    base_url: str
    api_key_env: str
    tool_mode: ToolMode
    usage_shape: UsageShape
    usage_chunks: UsageChunks
    tokenize: TokenizeMode


@dataclass(frozen=True, slots=True)
class Provider:
    name: str
    base_url: str
    api_key: str = field(default="", repr=False)
    tool_mode: ToolMode = "native"
    usage_shape: UsageShape = "auto"
    usage_chunks: UsageChunks = "cumulative"
    tokenize: TokenizeMode = "auto"


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """All that `gateway.complete` needs to know about its surroundings, so that tests can pass their own."""

    providers: Mapping[str, Provider]
    connect_timeout_s: float
    read_timeout_s: float
    total_timeout_s: float
    max_retries: int
    backoff_base_s: float = 0.5


def gateway_settings() -> GatewaySettings:
    return GatewaySettings(
        providers=configured(),
        connect_timeout_s=settings.LLM_CONNECT_TIMEOUT_S,
        read_timeout_s=settings.LLM_READ_TIMEOUT_S,
        total_timeout_s=settings.LLM_TOTAL_TIMEOUT_S,
        max_retries=settings.LLM_MAX_RETRIES,
    )


def configured() -> Mapping[str, Provider]:
    """The providers that can be called now, by name.

    One whose key variable is named but empty is left out, so its aliases are refused before any hold is placed
    instead of failing with a 401 after it. `api_key_env` may be left out for servers that want no key.
    """
    providers = {}
    if settings.LLM_BASE_URL:
        base_url = _base_url(settings.LLM_BASE_URL, "LLM_BASE_URL")
        key = _api_key(settings.LLM_API_KEY, "LLM_API_KEY")
        providers[DEFAULT_PROVIDER] = Provider(DEFAULT_PROVIDER, base_url, key)
    for name, spec in check_providers(settings.LLM_PROVIDERS).items():
        variable = spec["api_key_env"]
        key = _api_key(os.environ.get(variable, ""), variable) if variable else ""
        if key or not variable:
            providers[name] = _provider(name, key, spec)
    return providers


def _provider(name: str, key: str, spec: ProviderSpec) -> Provider:
    return Provider(
        name=name,
        base_url=spec["base_url"],
        api_key=key,
        tool_mode=spec["tool_mode"],
        usage_shape=spec["usage_shape"],
        usage_chunks=spec["usage_chunks"],
        tokenize=spec["tokenize"],
    )


def parse_providers(raw: str) -> dict[str, ProviderSpec]:
    """The value of LLM_PROVIDERS, checked and completed with the defaults. Empty means none."""
    if not raw.strip():
        return {}
    try:
        entries = json.loads(raw)
    except (ValueError, RecursionError):
        # Not the parser's exception: it holds the whole document.
        raise ProviderConfigError(f"{_VARIABLE}: not JSON") from None
    if not isinstance(entries, dict):
        raise ProviderConfigError(f"{_VARIABLE}: expected a JSON object of providers by name")
    return check_providers(entries)


def check_providers(entries: Mapping[str, Any]) -> dict[str, ProviderSpec]:
    """The same from an object that was parsed already."""
    return {name: _spec(name, entry) for name, entry in entries.items()}


def _spec(name: str, entry: Any) -> ProviderSpec:
    if not _NAME.fullmatch(name):
        raise ProviderConfigError(f"{_VARIABLE}: a name has 1 to 64 of a-z, 0-9, '_', '.', '-', unlike {name[:80]!r}")
    if name == DEFAULT_PROVIDER:
        raise ProviderConfigError(f"{_VARIABLE}: 'default' is the provider of LLM_BASE_URL; use another name")
    if not isinstance(entry, dict):
        raise ProviderConfigError(f"{_VARIABLE}: {name}: expected an object")
    if unknown := sorted(set(entry) - _FIELDS):
        known = ", ".join(sorted(_FIELDS))
        raise ProviderConfigError(f"{_VARIABLE}: {name}: unknown field {unknown[0][:80]!r}; known are {known}")
    return ProviderSpec(
        base_url=_base_url(entry.get("base_url"), f"{_VARIABLE}: {name}: base_url"),
        api_key_env=_environment_name(entry.get("api_key_env", ""), name),
        tool_mode=_choice(entry.get("tool_mode", "native"), ToolMode, f"{name}: tool_mode"),
        usage_shape=_choice(entry.get("usage_shape", "auto"), UsageShape, f"{name}: usage_shape"),
        usage_chunks=_choice(entry.get("usage_chunks", "cumulative"), UsageChunks, f"{name}: usage_chunks"),
        tokenize=_choice(entry.get("tokenize", "auto"), TokenizeMode, f"{name}: tokenize"),
    )


def _base_url(value: Any, where: str) -> str:
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        raise ProviderConfigError(f"{where}: not a URL") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not has_port or not parts.geturl().isprintable():
        raise ProviderConfigError(f"{where}: expected an http or https URL, up to and including /v1")
    if parts.username is not None or parts.query or parts.fragment:
        raise ProviderConfigError(f"{where}: no user, password, query or fragment; the key has its own variable")
    return str(value).rstrip("/")


def _api_key(value: str, variable: str) -> str:
    # A key read from a file often ends in a line break, which no header can hold.
    key = value.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ProviderConfigError(f"{variable}: a key has printable ASCII characters without spaces only")
    return key


def _environment_name(value: Any, name: str) -> str:
    if not isinstance(value, str) or (value and not _ENVIRONMENT_NAME.fullmatch(value)):
        # The value is not repeated: the usual mistake is the key itself in place of its variable's name.
        raise ProviderConfigError(f"{_VARIABLE}: {name}: api_key_env: expected the name of an environment variable")
    return value


def _choice(value: Any, allowed: Any, where: str) -> Any:
    if value not in get_args(allowed):
        raise ProviderConfigError(f"{_VARIABLE}: {where}: expected one of {', '.join(get_args(allowed))}")
    return value
