"""What one call reads: instructions, notes on what was said long ago, the last messages that fit, the user's message,
and the answers of this turn. Pure: no database, no clock.

Budget = the alias's context less what is kept free for the answer. Instructions, the user's message and a structured
answer's schema always go along. Then, in this order, as far as they fit: the answers of this turn (long ones are cut
rather than left out), the notes, the history from the newest on.

Sizes are counted by the function that is given: an upper bound (`bound_count`), or exact counts where the provider has
a tokenizer. So what fits here fits the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sessions_app.context.conversation import Conversation, Utterance, as_read_by, as_summary, explains_marks
from sessions_app.errors import ContextBudgetExceeded
from sessions_app.llm.estimate import BOUND_BYTES_PER_TOKEN, BOUND_TOKENS_PER_MESSAGE, input_bound
from sessions_app.llm.types import Message, ResponseSchema, ToolChoice, ToolSpec

# An output reserve beyond this share of the context would leave little to read on small models.
_RESERVE_SHARE = 4
# Notes beyond this share of the budget would push out the messages that they are to make room for.
NOTES_SHARE = 4
CUT_MARK = "\n[… cut]"
_LEAST_CUT_BYTES = 120

# Tokens of one message with this text, its frame in the provider's template included.
Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads, and how much it can. `closing` follows the answers of the turn; `schema` is what it must answer in.

    `preface` goes before the user's message. `tools` are what it is told that it can use, `tool_choice` whether it may;
    `is_choice`: it is asked in words which one, not for an answer. `hears_data`: `preface` or `closing` have other
    people's words in them.
    """

    agent_key: str
    system: str
    model_alias: str
    context_tokens: int
    max_output_tokens: int
    closing: tuple[Message, ...] = ()
    schema: ResponseSchema | None = None
    preface: tuple[Message, ...] = ()
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: ToolChoice = "auto"
    is_choice: bool = False
    hears_data: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What a window took in and what it left out, in messages and tokens (bounds, unless `exact`)."""

    model_alias: str
    budget_tokens: int
    reserve_tokens: int
    required_tokens: int
    included_messages: int
    included_tokens: int
    cut_messages: int
    cut_tokens: int
    cut_through_turn_index: int | None
    notes_tokens: int
    notes_messages: int
    notes_cut: bool
    answers: int
    answers_cut: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Window:
    """The messages of one call. `input_tokens` is the contract's bound, `output_tokens` what the model may write."""

    messages: tuple[Message, ...]
    schema: ResponseSchema | None
    tools: tuple[ToolSpec, ...]
    tool_choice: ToolChoice
    is_choice: bool
    input_tokens: int
    output_tokens: int
    reading: Reading


@dataclass(frozen=True, slots=True)
class Parts:
    """All that a reader could read, before anything is left out."""

    system: Message
    preface: tuple[Message, ...]
    asked: Message
    closing: tuple[Message, ...]
    answers: tuple[Message, ...]
    notes: Message | None
    history: tuple[Message, ...]
    traces: Message | None

    @property
    def required(self) -> tuple[Message, ...]:
        return (self.system, *self.preface, self.asked, *self.closing)


def input_budget(*, context_tokens: int, max_output_tokens: int) -> int:
    """How many tokens a call may read: the context less what is kept free for the answer."""
    return context_tokens - min(max_output_tokens, max(1, context_tokens // _RESERVE_SHARE))


def bound_count(text: str) -> int:
    """No provider counts more for a message with this text (contract, section 5)."""
    return input_bound((Message("user", text),))


def parts_of(reader: Reader, conversation: Conversation, answers: Sequence[Utterance]) -> Parts:
    mark = conversation.mark
    heard = tuple(as_read_by(item, reader.agent_key, mark) for item in answers)
    past = tuple(as_read_by(item, reader.agent_key, mark) for item in conversation.history)
    notes = as_summary(conversation.summary.notes, mark) if conversation.summary else None
    others = any(item.agent_key not in {"", reader.agent_key} for item in (*answers, *conversation.history))
    system = [reader.system]
    if conversation.goal.strip():
        system.append(f"The goal of this conversation: {conversation.goal.strip()}")
    traces = conversation.traces_of(reader.agent_key)
    if others or notes or traces or reader.hears_data:
        system.append(explains_marks(mark))
    return Parts(
        system=Message("system", "\n\n".join(system)),
        preface=reader.preface,
        asked=Message("user", conversation.user_input),
        closing=reader.closing,
        answers=heard,
        notes=notes,
        history=past,
        traces=traces,
    )


def compose(
    reader: Reader, conversation: Conversation, answers: Sequence[Utterance] = (), *, count: Count | None = None
) -> Window:
    """The call's messages.

    Raises: ContextBudgetExceeded when what must go along does not fit.
    """
    parts = parts_of(reader, conversation, answers)
    exact, count = count is not None, count or bound_count
    budget = input_budget(context_tokens=reader.context_tokens, max_output_tokens=reader.max_output_tokens)
    required = required_tokens(parts, reader, count)
    left = budget - required
    if left < 0:
        # Without anybody else's words there are no marks to explain either, and then it may fit after all.
        parts = replace(parts, system=parts_of(reader, _bare(conversation), ()).system)
        required, left = _checked(parts, reader, budget, count), 0
    heard, heard_tokens, answers_cut = _shared_out(parts.answers, left, count)
    left -= heard_tokens
    notes, notes_tokens, notes_cut = _notes(parts.notes, min(left, budget // NOTES_SHARE), count)
    left -= notes_tokens
    traces, traces_tokens, _ = _notes(parts.traces, min(left, budget // NOTES_SHARE), count)
    left -= traces_tokens
    past, past_tokens = _newest_that_fit(parts.history, left, count)
    messages = (parts.system, *notes, *past, *traces, *parts.preface, parts.asked, *heard, *parts.closing)
    size = required + heard_tokens + notes_tokens + traces_tokens + past_tokens
    missing = len(parts.history) - len(past)
    reading = Reading(
        model_alias=reader.model_alias,
        budget_tokens=budget,
        reserve_tokens=reader.context_tokens - budget,
        required_tokens=required,
        included_messages=len(past),
        included_tokens=past_tokens,
        cut_messages=missing,
        cut_tokens=sum(count(message.content) for message in parts.history[:missing]),
        cut_through_turn_index=conversation.history[missing - 1].turn_index if missing else None,
        notes_tokens=notes_tokens,
        notes_messages=conversation.summary.messages if conversation.summary else 0,
        notes_cut=notes_cut,
        answers=len(heard),
        answers_cut=answers_cut,
        exact=exact,
    )
    return Window(
        messages=messages,
        schema=reader.schema,
        tools=reader.tools,
        tool_choice=reader.tool_choice,
        is_choice=reader.is_choice,
        input_tokens=input_bound(messages, schema=reader.schema, tools=reader.tools),
        output_tokens=max(1, min(reader.max_output_tokens, reader.context_tokens - size)),
        reading=reading,
    )


def ensure_it_fits(reader: Reader, conversation: Conversation, *, count: Count | None = None) -> None:
    """Whether this reader could be asked at all, with everything pruned that can be.

    Raises: ContextBudgetExceeded.
    """
    budget = input_budget(context_tokens=reader.context_tokens, max_output_tokens=reader.max_output_tokens)
    _checked(parts_of(reader, _bare(conversation), ()), reader, budget, count or bound_count)


def _bare(conversation: Conversation) -> Conversation:
    return replace(conversation, summary=None, history=(), traces=())


def _checked(parts: Parts, reader: Reader, budget: int, count: Count) -> int:
    required = required_tokens(parts, reader, count)
    if required > budget:
        raise ContextBudgetExceeded(
            model_alias=reader.model_alias,
            needed_tokens=required,
            context_tokens=reader.context_tokens,
            texts=tuple(message.content for message in parts.required),
        )
    return required


def required_tokens(parts: Parts, reader: Reader, count: Count) -> int:
    """What must go along: instructions, the user's message, tools and what they gave, the schema of an answer."""
    told = input_bound((), schema=reader.schema, tools=reader.tools)
    asked = sum(input_bound((), tools=(), calls=message.tool_calls) for message in parts.required)
    return told + asked + sum(count(message.content) for message in parts.required)


def _newest_that_fit(messages: Sequence[Message], room: int, count: Count) -> tuple[list[Message], int]:
    """From the newest on, without a gap: an old message never jumps over a newer one that does not fit."""
    kept: list[Message] = []
    used = 0
    for message in reversed(messages):
        size = count(message.content)
        if used + size > room:
            break
        kept.append(message)
        used += size
    kept.reverse()
    return kept, used


def _notes(notes: Message | None, room: int, count: Count) -> tuple[list[Message], int, bool]:
    if notes is None:
        return [], 0, False
    cut, size = _cut_to(notes, room, count)
    return ([cut] if cut else []), size, cut is not notes


def _shared_out(answers: Sequence[Message], room: int, count: Count) -> tuple[list[Message], int, int]:
    """The answers of this turn, whole where they fit together; else the long ones are cut to equal shares.

    Returns the messages, their tokens, and how many of them were cut or left out.
    """
    sizes = [count(message.content) for message in answers]
    if sum(sizes) <= room:
        return list(answers), sum(sizes), 0
    share = equal_share(sizes, room)
    heard: list[Message] = []
    used = cut = 0
    for message, size in zip(answers, sizes, strict=True):
        short, tokens = (message, size) if size <= share else _cut_to(message, share, count)
        cut += short is not message
        used += tokens
        if short is not None:
            heard.append(short)
    return heard, used, cut


def equal_share(sizes: Sequence[int], room: int) -> int:
    """The largest share that all can have, when the ones that need less give the rest away."""
    share, left = 0, room
    for index, size in enumerate(ascending := sorted(sizes)):
        share = left // (len(ascending) - index)
        if size > share:
            return share
        left -= size
    return share


def _cut_to(message: Message, room: int, count: Count) -> tuple[Message | None, int]:
    """The message, or its beginning with a mark where it is cut; None where too little would be left of it.

    A cut text is counted by its share of the whole, and no denser than the bound allows, so that it never comes out
    larger than its room.
    """
    size = count(message.content)
    if size <= room:
        return message, size
    content = message.content.encode("utf-8", "surrogatepass")
    per_token = min(BOUND_BYTES_PER_TOKEN, len(content) / max(1, size))
    # The end of an attributed text is its closing mark, which a cut must not take away.
    tail = content[content.rfind(b"\n[/") :] if message.role == "user" and b"\n[/" in content else b""
    extra = len(CUT_MARK.encode()) + len(tail)
    keep = int((room - BOUND_TOKENS_PER_MESSAGE) * per_token) - extra
    if keep < _LEAST_CUT_BYTES:
        return None, 0
    kept = content[:keep].decode("utf-8", "ignore")
    return Message(message.role, kept + CUT_MARK + tail.decode("utf-8", "replace")), room
