"""The ways in which providers count tokens, each read into the same exclusive pools.

| shape      | input                               | cached, cache-write     | reasoning                            |
|------------|-------------------------------------|-------------------------|--------------------------------------|
| openai     | `prompt_tokens`, or `input_tokens`  | inside the input        | inside the output, unless the total  |
|            |                                     |                         | says outside (xAI, Gemini's endpoint)|
| openrouter | `prompt_tokens`                     | inside the input        | inside the output                    |
| anthropic  | `input_tokens`                      | beside it, added        | inside the output                    |
| gemini     | `promptTokenCount` + tool use       | inside the prompt       | beside `candidatesTokenCount`, added |

`auto` looks at which names are there. Read naively, cached tokens are billed twice and reasoning on top of output, or
not at all; all of that happened to peers. docs/providers.md has the formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pricing.rating import TokenPools
from sessions_app.llm.counts import COUNT_MAX, Counts, read_count

UsageShape = Literal["auto", "openai", "openrouter", "anthropic", "gemini"]
_Dialect = Literal["openai", "anthropic", "gemini"]
NO_LIMIT = COUNT_MAX

_CACHED = (
    "prompt_tokens_details.cached_tokens",
    "input_tokens_details.cached_tokens",
    "prompt_cache_hit_tokens",
    "cache_read_input_tokens",
    "cached_tokens",
)
_CACHE_WRITE = (
    "prompt_tokens_details.cache_write_tokens",
    "input_tokens_details.cache_write_tokens",
    "prompt_tokens_details.cache_creation_tokens",
    "prompt_tokens_details.cache_creation_input_tokens",
    "cache_creation_input_tokens",
    "cache_write_tokens",
)
# Anthropic's two lifetimes of a cache entry, where their sum is not given.
_CACHE_WRITE_PARTS = ("cache_creation.ephemeral_5m_input_tokens", "cache_creation.ephemeral_1h_input_tokens")
_REASONING = (
    "completion_tokens_details.reasoning_tokens",
    "output_tokens_details.reasoning_tokens",
    "output_tokens_details.thinking_tokens",
    "reasoning_tokens",
)
_CACHE_BESIDE = frozenset({"cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation"})
_GEMINI = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount")
_GEMINI_MORE = ("cachedContentTokenCount", "toolUsePromptTokenCount")
_MAIN = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens")
_PATHS = (*_MAIN, *_CACHED, *_CACHE_WRITE, *_CACHE_WRITE_PARTS, *_REASONING, *_GEMINI, *_GEMINI_MORE)
# Every name that a count has, and those of the objects that hold some: kept as evidence before anything else.
COUNT_NAMES = frozenset(path.rpartition(".")[2] for path in _PATHS)
USAGE_NAMES = COUNT_NAMES | {path.partition(".")[0] for path in _PATHS}


@dataclass(frozen=True, slots=True)
class ReportedUsage:
    """What the provider counted. None: it did not say. `input` is all input, `output` has the reasoning in it."""

    input: int | None
    cached: int
    cache_write: int
    output: int | None
    reasoning: int
    flags: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        return self.input is not None and self.output is not None

    def pools(self, *, input_estimate: int, output_estimate: int) -> TokenPools:
        """Exclusive pools; a side that was not reported is estimated."""
        output = output_estimate if self.output is None else self.output
        if self.input is None:
            return TokenPools(input_fresh=input_estimate, output=output, reasoning=self.reasoning)
        return TokenPools(
            input_fresh=self.input - self.cached - self.cache_write,
            input_cached=self.cached,
            input_cache_write=self.cache_write,
            output=output,
            reasoning=self.reasoning,
        )


def read_shape(raw: Mapping[str, Any], shape: UsageShape, output_limit: int) -> ReportedUsage:
    """`output_limit`: what was asked for at most. No more than that is ever inferred from a total."""
    reader = _READERS.get(shape)
    spoken = _dialects(raw)
    if reader is not None and (not spoken or shape in _SPEAKS[spoken[0]]):
        return reader(Counts(raw), output_limit)
    # `auto`, or a provider that was said to count in one way and reports in the names of another.
    found = [_READERS[dialect](Counts(raw), output_limit) for dialect in spoken or ["openai"]]
    if any(_pools(other) != _pools(found[0]) for other in found[1:]):
        return _flagged(found[0], "counts_differ")
    return found[0]


def _dialects(raw: Mapping[str, Any]) -> list[_Dialect]:
    """Whose names are there, those first that count something and do not only say zero."""
    short = ("input_tokens", "output_tokens")
    is_beside = _has_cache_beside(raw)
    named: list[tuple[_Dialect, tuple[str, ...]]] = [
        ("openai", ("prompt_tokens", "completion_tokens", *(() if is_beside else short))),
        ("anthropic", short if is_beside else ()),
        ("gemini", _GEMINI),
    ]
    counting = [dialect for dialect, names in named if any(read_count(raw.get(name), []) for name in names)]
    return counting or [dialect for dialect, names in named if any(raw.get(name) is not None for name in names)]


def _has_cache_beside(raw: Mapping[str, Any]) -> bool:
    """Anthropic says what its `input_tokens` leaves out. OpenAI's Responses API, with the same names, has details."""
    says_cache = not _CACHE_BESIDE.isdisjoint(raw)
    return says_cache and raw.get("input_tokens_details") is None


def _openai(counts: Counts, output_limit: int) -> ReportedUsage:
    prompt, completion = counts.one("prompt_tokens", "input_tokens"), counts.one("completion_tokens", "output_tokens")
    cached, cache_write = counts.one(*_CACHED) or 0, counts.one(*_CACHE_WRITE) or 0
    reasoning, total = counts.one(*_REASONING), counts.one("total_tokens")
    if prompt and completion is not None and total is not None:
        gap = _Gap(total - prompt - completion, cached + cache_write, reasoning, completion, output_limit)
        more_input, more_output = gap.explained(counts.flags, is_cache_inside=cached + cache_write <= prompt)
        prompt, completion, reasoning = prompt + more_input, completion + more_output, reasoning or more_output
    return _bounded(counts, prompt, completion, cached=cached, cache_write=cache_write, reasoning=reasoning or 0)


@dataclass(frozen=True, slots=True)
class _Gap:
    """What a total has beyond prompt and completion: tokens that are counted outside of both."""

    size: int
    cache: int
    reasoning: int | None
    completion: int
    output_limit: int

    def explained(self, flags: list[str], *, is_cache_inside: bool) -> tuple[int, int]:
        """(more input, more output). A gap that nothing explains changes nothing: a wrong total mints no charge."""
        if self.size <= 0:
            return 0, 0
        more_input, more_output = self._parts(is_cache_inside=is_cache_inside)
        if more_input:
            flags.append("cache_outside_input")
        if more_output:
            flags.append("reasoning_outside_output")
        if more_input + more_output != self.size:
            flags.append("total_differs")
        return more_input, more_output

    def _parts(self, *, is_cache_inside: bool) -> tuple[int, int]:
        reasoning = self.reasoning or 0
        if self.size == reasoning:
            return 0, reasoning
        if self.cache and self.size in {self.cache, self.cache + reasoning}:
            return self.cache, self.size - self.cache
        if self.size > reasoning > self.completion:
            # It cannot be part of a smaller output. What else the total has, nobody knows.
            return 0, reasoning
        if self.reasoning is None and is_cache_inside and self.completion + self.size <= self.output_limit:
            # Gemini's OpenAI-compatible endpoint: thoughts are in the total, and nowhere else.
            return 0, self.size
        return 0, 0


def _openrouter(counts: Counts, _output_limit: int) -> ReportedUsage:
    """It normalises what its providers count, so its total has nothing to add."""
    prompt, completion = counts.one("prompt_tokens", "input_tokens"), counts.one("completion_tokens", "output_tokens")
    cached, cache_write = counts.one(*_CACHED) or 0, counts.one(*_CACHE_WRITE) or 0
    reasoning = counts.one(*_REASONING) or 0
    return _bounded(counts, prompt, completion, cached=cached, cache_write=cache_write, reasoning=reasoning)


def _anthropic(counts: Counts, _output_limit: int) -> ReportedUsage:
    fresh, output = counts.one("input_tokens", "prompt_tokens"), counts.one("output_tokens", "completion_tokens")
    cached, cache_write = counts.one(*_CACHED), counts.one(*_CACHE_WRITE)
    if cache_write is None:
        cache_write = counts.all(*_CACHE_WRITE_PARTS)
    # Most of the input may be in a count that says nothing: then nobody knows it, and all of it is estimated.
    is_known = not (cached is None and counts.said(*_CACHED) or cache_write is None and counts.said(*_CACHE_WRITE))
    total = fresh + (cached or 0) + (cache_write or 0) if fresh is not None and is_known else None
    reasoning = counts.one(*_REASONING) or 0
    return _bounded(counts, total, output, cached=cached or 0, cache_write=cache_write or 0, reasoning=reasoning)


def _gemini(counts: Counts, _output_limit: int) -> ReportedUsage:
    prompt, candidates = counts.one("promptTokenCount"), counts.one("candidatesTokenCount")
    thoughts, total = counts.one("thoughtsTokenCount") or 0, counts.one("totalTokenCount")
    tool_use = counts.one("toolUsePromptTokenCount") or 0
    if prompt is not None:
        prompt += tool_use
    if candidates is None and thoughts and not counts.said("candidatesTokenCount"):
        # A count of zero is left out: it thought, and has not said a word yet.
        candidates = 0
    output = None if candidates is None else candidates + thoughts
    if thoughts and candidates and prompt is not None and total == prompt + candidates:
        # Some models of it count thoughts among the candidates' tokens, as the total shows.
        counts.flags.append("reasoning_inside_output")
        output = candidates
    cached = counts.one("cachedContentTokenCount") or 0
    return _bounded(counts, prompt, output, cached=cached, cache_write=0, reasoning=thoughts)


def _bounded(
    counts: Counts, total: int | None, output: int | None, *, cached: int, cache_write: int, reasoning: int
) -> ReportedUsage:
    """No part is larger than its whole, and nothing is part of what is not known."""
    flags = counts.flags
    if total is None:
        cached = cache_write = 0
    elif cached > total:
        cached = total
        flags.append("cached_exceeds_input")
    if total is not None and cache_write > total - cached:
        cache_write = total - cached
        flags.append("cache_write_exceeds_input")
    if output is None:
        reasoning = 0
    elif reasoning > output:
        reasoning = output
        flags.append("reasoning_exceeds_output")
    return ReportedUsage(total, cached, cache_write, output, reasoning, tuple(dict.fromkeys(flags)))


def _pools(usage: ReportedUsage) -> TokenPools:
    return usage.pools(input_estimate=-1, output_estimate=-1)


def _flagged(usage: ReportedUsage, flag: str) -> ReportedUsage:
    flags = tuple(dict.fromkeys((*usage.flags, flag)))
    return ReportedUsage(usage.input, usage.cached, usage.cache_write, usage.output, usage.reasoning, flags)


_READERS: Mapping[str, Callable[[Counts, int], ReportedUsage]] = {
    "openai": _openai,
    "openrouter": _openrouter,
    "anthropic": _anthropic,
    "gemini": _gemini,
}
# The names in which a provider of each shape may report: who counts like Anthropic may do so in OpenAI's names.
_SPEAKS: Mapping[_Dialect, frozenset[str]] = {
    "openai": frozenset({"openai", "openrouter", "anthropic"}),
    "anthropic": frozenset({"openai", "openrouter", "anthropic"}),
    "gemini": frozenset({"gemini"}),
}
