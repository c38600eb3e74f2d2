"""What an agent reads: its role, the last messages that fit, the user's message, and earlier answers of the turn.

Pure: no database, no clock. Sizes are upper bounds in tokens (`llm.estimate.input_bound`), so what fits here fits the
model. Another agent's words reach an agent as attributed text of role `user`, never as its own and never as a system
message; role prompts of other agents do not appear at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sessions_app.errors import ContextBudgetExceeded
from sessions_app.llm.estimate import input_bound
from sessions_app.llm.types import Message

# An output reserve beyond this share of the context would leave little to read on small models.
_RESERVE_SHARE = 4


@dataclass(frozen=True, slots=True)
class Utterance:
    """A shared message: the user's (`agent_key` empty) or an agent's."""

    agent_key: str
    agent_name: str
    content: str


@dataclass(frozen=True, slots=True)
class Window:
    """The messages of one call with their size: `input_tokens` is a bound, `output_tokens` what the model may write."""

    messages: tuple[Message, ...]
    input_tokens: int
    output_tokens: int


def input_budget(*, context_tokens: int, max_output_tokens: int) -> int:
    """How many tokens a call may read: the context less what is kept free for the answer."""
    return context_tokens - min(max_output_tokens, max(1, context_tokens // _RESERVE_SHARE))


def compose(
    *,
    agent_key: str,
    agent_name: str,
    role_prompt: str,
    goal: str,
    history: Sequence[Utterance],
    user_input: str,
    answers: Sequence[Utterance],
    model_alias: str,
    context_tokens: int,
    max_output_tokens: int,
) -> Window:
    """The call's messages. The oldest history is left out first; then the oldest answers of this turn.

    Raises: ContextBudgetExceeded when role and message alone do not fit.
    """
    budget = input_budget(context_tokens=context_tokens, max_output_tokens=max_output_tokens)
    system = Message("system", _system(agent_name, role_prompt, goal))
    asked = Message("user", user_input)
    used = input_bound((system, asked))
    if used > budget:
        raise ContextBudgetExceeded(model_alias=model_alias, needed_tokens=used, context_tokens=context_tokens)
    heard = _newest_that_fit([_as_heard(item, agent_key) for item in answers], budget - used)
    used += sum(input_bound((message,)) for message in heard)
    past = _newest_that_fit([_as_heard(item, agent_key) for item in history], budget - used)
    messages = (system, *past, asked, *heard)
    size = input_bound(messages)
    return Window(messages, size, max(1, min(max_output_tokens, context_tokens - size)))


def _system(agent_name: str, role_prompt: str, goal: str) -> str:
    parts = [role_prompt.strip() or f"You are {agent_name}, a helpful assistant."]
    if goal.strip():
        parts.append(f"The goal of this conversation: {goal.strip()}")
    return "\n\n".join(parts)


def _as_heard(item: Utterance, agent_key: str) -> Message:
    if not item.agent_key:
        return Message("user", item.content)
    if item.agent_key == agent_key:
        return Message("assistant", item.content)
    return Message("user", f"[{item.agent_name} (@{item.agent_key}) said:]\n{item.content}")


def _newest_that_fit(messages: Sequence[Message], budget: int) -> list[Message]:
    kept: list[Message] = []
    for message in reversed(messages):
        budget -= input_bound((message,))
        if budget < 0:
            break
        kept.append(message)
    kept.reverse()
    return kept
