"""The kinds of calls that a turn makes, as data: who is asked, to what purpose, with which instructions. Pure.

Whoever opens, estimates or runs a turn builds its calls from these, so that a hold, an estimate and the call itself are
about the same words.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

from sessions_app.context.conversation import Utterance
from sessions_app.context.window import Reader
from sessions_app.llm.providers import ToolMode
from sessions_app.llm.types import Message, ResponseSchema
from sessions_app.orchestration import routing, synthesis
from sessions_app.tools.talk import ToolStep, with_tools
from sessions_app.tools.toolkits import Toolkit
from sessions_app.turns.planning import Plan, Speaker

# Providers that know no structured output refuse the request itself: then the instructions must do.
REFUSES_SCHEMA = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})
# In these modes nobody hears the answers before theirs.
ALONE = frozenset({"manual", "standalone"})
Purpose = Literal["agent", "router", "synthesis", "summary"]


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to one model. `answers`: what it hears of this turn. `streams`: whether the client sees its text.

    `tool_steps`: what it has done with tools for this answer. `tools_off`: it has to answer without any further one.
    """

    speaker: Speaker
    purpose: Purpose
    system: str
    answers: tuple[Utterance, ...] = ()
    closing: tuple[Message, ...] = ()
    schema: ResponseSchema | None = None
    most_output_tokens: int | None = None
    streams: bool = True
    tool_steps: tuple[ToolStep, ...] = ()
    tools_off: bool = False

    def reader(
        self, *, context_tokens: int, max_output_tokens: int, toolkit: Toolkit | None = None,
        tool_mode: ToolMode = "native", mark: str = "",
    ) -> Reader:  # fmt: skip
        """`toolkit`: what it can use; `tool_mode` says how its provider is told of that."""
        most = max_output_tokens if self.most_output_tokens is None else self.most_output_tokens
        reader = Reader(
            agent_key=self.speaker.agent_key,
            system=self.system,
            model_alias=self.speaker.model_alias,
            context_tokens=context_tokens,
            max_output_tokens=most,
            closing=self.closing,
            schema=self.schema,
        )
        if toolkit is None:
            return reader
        return with_tools(reader, toolkit, self.tool_steps, mode=tool_mode, is_off=self.tools_off, mark=mark)


def speech(speaker: Speaker, answers: tuple[Utterance, ...] = ()) -> Ask:
    """An agent's answer, in its role."""
    role = speaker.role_prompt.strip() or f"You are {speaker.agent_name}, a helpful assistant."
    return Ask(speaker, "agent", role, answers)


def route(plan: Plan, answers: tuple[Utterance, ...] = (), *, failed: str | None = None) -> Ask:
    """Which agents are to speak. `answers`: of the first round, where this is about a second one.

    `failed`: what the orchestrator said when it was asked before and could not be understood.
    """
    assert plan.manager is not None  # noqa: S101 - for the type checker
    again = bool(answers)
    return Ask(
        speaker=plan.manager,
        purpose="router",
        system=routing.instructions(plan.speakers, again=again),
        answers=answers,
        closing=() if failed is None else routing.repair(failed, plan.speakers),
        schema=routing.schema(plan.speakers),
        most_output_tokens=routing.MAX_OUTPUT_TOKENS,
        streams=False,
    )


def synthesise(plan: Plan, answers: tuple[Utterance, ...]) -> Ask:
    """One answer out of those that the agents gave."""
    assert plan.manager is not None  # noqa: S101 - for the type checker
    return Ask(plan.manager, "synthesis", synthesis.INSTRUCTIONS, answers, closing=(synthesis.REQUEST,))


def first(plan: Plan) -> Ask:
    """The call without which the turn is nothing: what its admission depends on."""
    resumed = plan.resumption
    if resumed is None:
        return route(plan) if plan.mode == "orchestrator" else speech(plan.speakers[0])
    heard = tuple(Utterance(*answer) for answer in resumed.answers)
    if resumed.entry == "synthesise":
        return synthesise(plan, heard)
    if resumed.entry == "route":
        return route(plan, heard)
    return speech(resumed.speakers[0], () if plan.mode in ALONE else heard)


def possible(plan: Plan) -> list[Ask]:
    """One of each kind of call that the turn may make, the repair of an answer and the summary left out."""
    agents = [speech(speaker) for speaker in plan.speakers]
    return [route(plan), *agents, synthesise(plan, ())] if plan.mode == "orchestrator" else agents
