"""How a model is told of tools and of what they gave: natively, or in words where its provider knows no tools.

In words a model first chooses, by a structured answer: a tool with its arguments, or to answer. Its answer is then a
call of its own, in plain text, that streams like any other. Results are data between the conversation's marks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sessions_app.context.conversation import attributed
from sessions_app.context.lenient_json import lenient_object
from sessions_app.context.window import Reader
from sessions_app.llm.estimate import input_bound
from sessions_app.llm.providers import ToolMode
from sessions_app.llm.types import Message, ResponseSchema, ToolCall, ToolSpec
from sessions_app.tools.toolkits import Toolkit
from sessions_app.tools.using import Outcome

CHOICE_MAX_OUTPUT_TOKENS = 300
_ANSWER = "answer"
_NOW_ANSWER = Message("user", "Now answer what was asked, in plain words.")
# Not named here what is no tool: small models then take that, whatever they were asked.
_CHOOSE = Message("user", "Choose your next step in JSON. Use a tool first if it may help.")


@dataclass(frozen=True, slots=True)
class ToolStep:
    """A model call that asked for tools, and what they gave."""

    text: str
    outcomes: tuple[Outcome, ...]

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        return tuple(outcome.call for outcome in self.outcomes)


def with_tools(
    reader: Reader, toolkit: Toolkit, steps: Sequence[ToolStep], *, mode: ToolMode, is_off: bool, mark: str
) -> Reader:
    """The reader as it is told of its tools. A toolkit that would take half of what it can read is left out."""
    preface = (toolkit.files,) if toolkit.files else ()
    if input_bound(preface, tools=toolkit.specs) > reader.context_tokens // 2:
        return reader
    if mode == "native":
        closing = (*reader.closing, *natively(steps, mark))
        return replace(
            reader, preface=preface, closing=closing, tools=toolkit.specs, tool_choice="none" if is_off else "auto",
            hears_data=True,
        )  # fmt: skip
    if is_off:
        # Without its own choices: a small model would go on making them.
        told = (*_results(steps, mark), _NOW_ANSWER) if steps else ()
        return replace(reader, preface=preface, closing=(*reader.closing, *told), hears_data=True)
    return replace(
        reader,
        system=f"{reader.system}\n\n{instructions(toolkit.specs)}",
        preface=preface,
        closing=(*reader.closing, *in_words(steps, mark), _CHOOSE),
        schema=choice_schema(toolkit.specs),
        max_output_tokens=min(reader.max_output_tokens, CHOICE_MAX_OUTPUT_TOKENS),
        is_choice=True,
        hears_data=True,
    )


def natively(steps: Sequence[ToolStep], mark: str) -> tuple[Message, ...]:
    messages: list[Message] = []
    for number, step in enumerate(steps):
        # Ids are the model's own; two of its answers may use the same ones, which some providers refuse.
        calls = tuple(ToolCall(f"{number}_{call.id}", call.name, call.arguments) for call in step.calls)
        messages.append(Message("assistant", step.text, tool_calls=calls))
        messages += (
            Message("tool", _between(mark, outcome), tool_call_id=call.id)
            for call, outcome in zip(calls, step.outcomes, strict=True)
        )
    return tuple(messages)


def in_words(steps: Sequence[ToolStep], mark: str) -> tuple[Message, ...]:
    messages: list[Message] = []
    for step in steps:
        messages += (Message("assistant", _choice_json(call)) for call in step.calls)
        messages += _results([step], mark)
    return tuple(messages)


def _results(steps: Sequence[ToolStep], mark: str) -> list[Message]:
    return [Message("user", _between(mark, outcome)) for step in steps for outcome in step.outcomes]


def _between(mark: str, outcome: Outcome) -> str:
    return attributed(f"Result of the tool {outcome.call.name}", outcome.content, mark)


def instructions(tools: Sequence[ToolSpec]) -> str:
    """For the system message of a model that is told of tools in words."""
    listed = "\n".join(f"- {tool.name}: {tool.description}" for tool in tools)
    return f"Before you answer you can use these tools:\n{listed}\n- {_ANSWER}: no tool is needed any more."


def choice_schema(tools: Sequence[ToolSpec]) -> ResponseSchema:
    """One of the tools with its arguments, or to answer. Below the root, where strict providers allow alternatives."""
    options: list[dict[str, Any]] = [
        _closed({"action": {"type": "string", "enum": [tool.name]}, "arguments": dict(tool.parameters)})
        for tool in tools
    ]
    options.append(_closed({"action": {"type": "string", "enum": [_ANSWER]}}))
    return ResponseSchema("next_step", _closed({"next": {"anyOf": options}}))


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip


def chosen(text: str, *, call_id: str) -> ToolCall | None:
    """What a model chose; None where it wants to answer, or nobody can tell what it wants."""
    found = lenient_object(text)
    choice = found.get("next", found) if found else None
    if not isinstance(choice, dict) or not isinstance(choice.get("action"), str) or choice["action"] == _ANSWER:
        return None
    arguments = choice.get("arguments")
    return ToolCall(call_id, choice["action"], json.dumps(arguments if isinstance(arguments, dict) else {}))


def _choice_json(call: ToolCall) -> str:
    return json.dumps({"next": {"action": call.name, "arguments": json.loads(call.arguments)}}, ensure_ascii=False)
