"""Notes in place of old messages: when they are due, what the summary alias is asked, and what its answer says. Pure.

Summarise → prune → refuse: as soon as the history takes more of a reader's room than its share, all but the newest
messages are to be summed up; whatever then does not fit is pruned call by call (`context.window`); and what cannot be
pruned is refused when the turn opens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sessions_app.context.conversation import (
    Conversation,
    Notes,
    Summary,
    Utterance,
    attributed,
    explains_marks,
    written_out,
)
from sessions_app.context.lenient_json import lenient_object
from sessions_app.context.window import Reader, bound_count, equal_share, input_budget, parts_of, required_tokens
from sessions_app.llm.estimate import BOUND_BYTES_PER_TOKEN, input_bound
from sessions_app.llm.text import clean
from sessions_app.llm.types import Message, ResponseSchema

MAX_OUTPUT_TOKENS = 600
# Notes and history may fill this share of the room that instructions and message leave: less of it where several
# agents speak, because they read each other's answers too.
_ALONE, _TOGETHER = (1, 1), (2, 3)
# Once they do not, so much of it is left as it was said: the newest messages.
_KEPT = (1, 3)
# However short they are: more than these are not read in one turn, so notes come before opening has to leave any out.
MESSAGES_MAX = 300
# Old messages that do not fit the writer's context together are cut to equal shares, none below this.
_LEAST_LINE_BYTES = 120
_OUTPUT_SHARE = 6
_TEXT_MAX_CHARS = 4_000
_ITEM_MAX_CHARS = 400
_ITEMS_MAX = 12
_LISTS = ("key_facts", "decisions", "open_questions", "action_items")
_STRINGS: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
SCHEMA = ResponseSchema(
    "conversation_notes",
    {
        "type": "object",
        "properties": {"text": {"type": "string"}, **dict.fromkeys(_LISTS, _STRINGS)},
        "required": ["text", *_LISTS],
        "additionalProperties": False,
    },
)
_INSTRUCTIONS = (
    "You keep the notes of a conversation. Write new notes in place of the earlier notes and the messages below, as"
    " JSON: text (what it is about, at most 80 words), key_facts, decisions, open_questions, action_items (short"
    " sentences, or none). Keep names, numbers and dates. Only what was said."
)
_REQUEST = Message("user", "Write the notes now.")


@dataclass(frozen=True, slots=True)
class SummaryDue:
    """What a summary call reads, and for which messages its notes will stand."""

    messages: tuple[Message, ...]
    input_tokens: int
    output_tokens: int
    through: Utterance
    read_messages: int
    read_tokens: int
    messages_in_all: int


def too_long(conversation: Conversation, readers: Sequence[Reader]) -> int:
    """How many of the oldest messages should give way to notes; 0 while the history fits all readers and is short."""
    if not conversation.history:
        return 0
    together = len({reader.agent_key for reader in readers}) > 1
    kept = min(_kept(conversation, reader, together=together) for reader in readers)
    if kept > MESSAGES_MAX:
        kept = MESSAGES_MAX * _KEPT[0] // _KEPT[1]
    return _whole_turns(conversation.history, len(conversation.history) - kept)


def _whole_turns(history: Sequence[Utterance], older: int) -> int:
    """Not between a message and its answers, unless they alone are too much."""
    whole = older
    while 0 < whole < len(history) and history[whole - 1].turn_index == history[whole].turn_index:
        whole -= 1
    return whole or older


def _kept(conversation: Conversation, reader: Reader, *, together: bool) -> int:
    """How many of the newest messages this reader should go on reading as they were said."""
    parts = parts_of(reader, conversation, ())
    sizes = [bound_count(message.content) for message in parts.history]
    notes = bound_count(parts.notes.content) if parts.notes else 0
    budget = input_budget(context_tokens=reader.context_tokens, max_output_tokens=reader.max_output_tokens)
    over, under = _TOGETHER if together else _ALONE
    room = max(0, budget - required_tokens(parts, reader, bound_count)) * over // under
    if sum(sizes) + notes <= room:
        return len(sizes)
    kept, left = 0, room * _KEPT[0] // _KEPT[1]
    for size in reversed(sizes):
        left -= size
        if left < 0:
            break
        kept += 1
    return kept


def due(conversation: Conversation, older: int, writer: Reader) -> SummaryDue | None:
    """The call that makes notes of the `older` oldest messages; None where the writer's context has no room for any.

    They are cut to equal shares where they do not fit together. Of very many it reads the oldest; the rest waits for
    the next turn.
    """
    return _reads(conversation, conversation.history[:older], writer)


def writer_reader(*, model_alias: str, context_tokens: int) -> Reader:
    """Whoever writes the notes: no agent, and with a limit of its own."""
    most = min(MAX_OUTPUT_TOKENS, max(1, context_tokens // _OUTPUT_SHARE))
    return Reader("", _INSTRUCTIONS, model_alias, context_tokens, most, (_REQUEST,), SCHEMA)


def parse(text: str) -> Notes | None:
    """The notes in a model's answer, bounded; None where it has none. Repeated items are kept once."""
    found = lenient_object(text)
    if found is None:
        return None
    said = found.get("text")
    notes = Notes(
        _clean(said, _TEXT_MAX_CHARS) if isinstance(said, str) else "", *(_items(found.get(name)) for name in _LISTS)
    )
    return notes if notes != Notes("") else None


def apply(conversation: Conversation, summary: Summary) -> Conversation:
    """The conversation as it reads once the notes stand for its oldest messages."""
    places = [(item.turn_index, item.message_id) for item in conversation.history]
    through = places.index((summary.through_turn_index, summary.through_message_id))
    return Conversation(
        conversation.goal, summary, conversation.history[through + 1 :], conversation.user_input, conversation.mark
    )


def _reads(conversation: Conversation, older: Sequence[Utterance], writer: Reader) -> SummaryDue | None:
    mark = conversation.mark
    earlier = conversation.summary
    system = Message("system", f"{writer.system}\n\n{explains_marks(mark)}")
    notes = Message("user", attributed("Earlier notes", written_out(earlier.notes) if earlier else "none", mark))
    fixed = (system, notes, Message("user", attributed("Messages", "", mark)), *writer.closing)
    budget = input_budget(context_tokens=writer.context_tokens, max_output_tokens=writer.max_output_tokens)
    room_bytes = (budget - input_bound(fixed, schema=writer.schema)) * BOUND_BYTES_PER_TOKEN
    lines = _that_fit([_line(item) for item in older], room_bytes)
    if not lines:
        return None
    older = older[: len(lines)]
    told = attributed("Messages", "\n".join(_cut_lines(lines, room_bytes)), mark)
    messages = (system, notes, Message("user", told), *writer.closing)
    size = input_bound(messages, schema=writer.schema)
    return SummaryDue(
        messages=messages,
        input_tokens=size,
        output_tokens=max(1, min(writer.max_output_tokens, writer.context_tokens - size)),
        through=older[-1],
        read_messages=len(older),
        read_tokens=sum(bound_count(item.content) for item in older),
        messages_in_all=len(older) + (earlier.messages if earlier else 0),
    )


def _line(item: Utterance) -> str:
    """One message on one line, so that no text can pass for the beginning of somebody else's."""
    who = f"{item.agent_name} (@{item.agent_key})" if item.agent_key else "The user"
    return f"- {' '.join(who.split())}: {' '.join(item.content.split())}"


def _that_fit(lines: Sequence[str], room_bytes: int) -> list[str]:
    """The first lines that fit together once each is cut to the least share."""
    fitting: list[str] = []
    for line in lines:
        room_bytes -= min(_bytes(line) + 1, _LEAST_LINE_BYTES)
        if room_bytes < 0:
            break
        fitting.append(line)
    return fitting


def _cut_lines(lines: Sequence[str], room_bytes: int) -> list[str]:
    """All lines whole where they fit together, else the long ones cut to equal shares."""
    sizes = [_bytes(line) + 1 for line in lines]
    if sum(sizes) <= room_bytes:
        return list(lines)
    share = equal_share(sizes, room_bytes)
    return [line if size <= share else _cut(line, share) for line, size in zip(lines, sizes, strict=True)]


def _cut(line: str, share: int) -> str:
    return line.encode("utf-8", "surrogatepass")[: share - 1 - _bytes("…")].decode("utf-8", "ignore") + "…"


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _items(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    said = (_clean(item, _ITEM_MAX_CHARS) for item in value if isinstance(item, str))
    return tuple(dict.fromkeys(item for item in said if item))[:_ITEMS_MAX]


def _clean(text: str, most: int) -> str:
    # Escapes of JSON may stand for what PostgreSQL cannot hold.
    text = " ".join(clean(text).split())
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
