"""Exact token counts where a provider has a tokenizer: asked between transactions, never within one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pricing import cache as price_cache
from pricing.price_book import ModelPrice
from sessions_app.context.conversation import Conversation, Utterance
from sessions_app.context.window import Parts, Reader, input_budget, parts_of
from sessions_app.llm.tokenizing import count_tokens, count_tokens_blocking

# No tokenizer makes more tokens of a text than it has bytes, nor fewer than one of this many bytes of prose.
_BYTES_PER_TOKEN_MAX = 10


async def exactly(
    reader: Reader, conversation: Conversation, answers: Sequence[Utterance], price: ModelPrice
) -> Mapping[str, int]:
    """Tokens of what this reader may come to read; empty where nobody counts, or where all of it fits in any case."""
    parts = parts_of(reader, conversation, answers)
    budget = input_budget(context_tokens=reader.context_tokens, max_output_tokens=reader.max_output_tokens)
    texts = _in_question(parts, budget)
    if not texts:
        return {}
    counts = await count_tokens(provider=price.provider, model=price.provider_model, texts=texts)
    return dict(zip(texts, counts, strict=True)) if counts is not None else {}


def exactly_blocking(model_alias: str, texts: Sequence[str]) -> Mapping[str, int]:
    """The same for code in a thread that has texts to count; empty where nobody counts."""
    price = price_cache.current().find(model_alias)
    if price is None or not texts:
        return {}
    counts = count_tokens_blocking(provider=price.provider, model=price.provider_model, texts=texts)
    return dict(zip(texts, counts, strict=True)) if counts is not None else {}


def _in_question(parts: Parts, budget: int) -> list[str]:
    """All texts but the history that is too old to fit however few tokens it has. None while bytes alone fit."""
    texts = [message.content for message in (*parts.required, *parts.answers)]
    texts += [message.content for message in (parts.notes, parts.traces) if message is not None]
    history = [message.content for message in parts.history]
    frames = 8 * (len(texts) + len(history))
    if frames + sum(len(text.encode("utf-8", "surrogatepass")) for text in (*texts, *history)) <= budget:
        return []
    left = budget * _BYTES_PER_TOKEN_MAX
    for text in reversed(history):
        left -= len(text)
        if left < 0:
            break
        texts.append(text)
    return list(dict.fromkeys(texts))
