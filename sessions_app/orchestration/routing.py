"""Who is to speak: what the orchestrator is asked, and what its answer means. Pure.

Exact → folded → one repair → the first agent. Exact: an object as the schema asks for it. Folded: an object wrapped in
prose or torn off, other names for its field, keys in another case, with an @ or by an agent's name, or plain text that
mentions agents. What names nobody is asked once more, and then the first agent speaks: an orchestrator that fails never
fails the turn. However many agents it names, each of the room speaks once a round at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sessions_app.context.lenient_json import TEXT_MAX_CHARS, exact_object, lenient_object
from sessions_app.llm.types import Message, ResponseSchema
from sessions_app.turns.planning import Speaker

MAX_OUTPUT_TOKENS = 300
MAX_ROUNDS = 2
MAX_SPEAKERS = 8
ANSWER_MAX_CHARS = 600
_WORD = re.compile(r"@?[A-Za-z0-9_]+")
# What models call the field when no schema holds them to it.
_FIELDS = ("agents", "agent_keys", "agent", "agent_key", "next", "next_agent", "speakers")


@dataclass(frozen=True, slots=True)
class Routing:
    """Which agents speak, in this order. `second_round`: whether the orchestrator wants to see their answers and route
    again. `left_out`: how many it named beyond the limit."""

    speakers: tuple[Speaker, ...]
    second_round: bool = False
    left_out: int = 0


def schema(agents: Sequence[Speaker]) -> ResponseSchema:
    keys = [agent.agent_key for agent in agents]
    return ResponseSchema(
        "routing",
        {
            "type": "object",
            "properties": {
                "agents": {"type": "array", "items": {"type": "string", "enum": keys}},
                "second_round": {"type": "boolean"},
            },
            "required": ["agents", "second_round"],
            "additionalProperties": False,
        },
    )


def instructions(agents: Sequence[Speaker], *, again: bool) -> str:
    """The agents by key, name and description. Their role prompts are theirs alone."""
    lines = [
        "You lead a conversation between a user and AI agents. You do not answer the user: you decide which agents do.",
        "The agents:",
        *(_roster_line(agent) for agent in agents),
    ]
    if again:
        lines.append(
            "The agents whose answers follow the user's message have spoken. Choose those who should speak once more"
            " in view of these answers, or nobody: agents is then an empty list, and second_round is false."
        )
    else:
        lines.append(
            "Choose one or more agents for the user's last message, in the order in which they should speak; each hears"
            " the ones before it. second_round is true only if they should speak again after you have seen their"
            " answers."
        )
    lines.append('Answer in JSON: {"agents": ["key", ...], "second_round": false}')
    return "\n".join(lines)


def repair(failed: str, agents: Sequence[Speaker]) -> tuple[Message, ...]:
    """What follows an answer that named nobody."""
    keys = ", ".join(agent.agent_key for agent in agents)
    said = (Message("assistant", failed[:ANSWER_MAX_CHARS]),) if failed.strip() else ()
    return (*said, Message("user", f"That names no agent. Answer in JSON with one or more of these keys: {keys}"))


def understood(text: str, agents: Sequence[Speaker], *, may_be_nobody: bool = False) -> Routing | None:
    """What an answer means; None where it names no agent of the room.

    `may_be_nobody`: an empty list is an answer (in the second round), not a failure.
    """
    found = exact_object(text) or lenient_object(text)
    if found is not None:
        named = next((found[name] for name in _FIELDS if name in found), None)
        chosen = _chosen(_names(named), agents)
        if chosen or (may_be_nobody and named == []):
            return _routing(chosen, second_round=found.get("second_round") is True)
        return None
    chosen = _chosen(_WORD.findall(text[:TEXT_MAX_CHARS]), agents)
    return _routing(chosen) if chosen else None


def _routing(chosen: Sequence[Speaker], *, second_round: bool = False) -> Routing:
    return Routing(tuple(chosen[:MAX_SPEAKERS]), second_round, max(0, len(chosen) - MAX_SPEAKERS))


def _names(named: Any) -> Iterator[str]:
    """The strings of a list, a list of objects, or a string that may list several."""
    if isinstance(named, str):
        yield from [named, *re.split(r"[,;\s]+", named)]
    elif isinstance(named, dict):
        yield from (value for value in named.values() if isinstance(value, str))
    elif isinstance(named, list):
        for item in named:
            if isinstance(item, str | dict):
                yield from _names(item)


def _chosen(names: Iterator[str] | Sequence[str], agents: Sequence[Speaker]) -> list[Speaker]:
    """The agents that are named, each once, in the order of first mention."""
    known = {_folded(agent.agent_name): agent for agent in reversed(agents)}
    known |= {_folded(agent.agent_key): agent for agent in agents}
    chosen = dict.fromkeys(known[name].agent_key for name in map(_folded, names) if name in known)
    by_key = {agent.agent_key: agent for agent in agents}
    return [by_key[key] for key in chosen]


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().lstrip("@").casefold())


def _roster_line(agent: Speaker) -> str:
    about = f": {' '.join(agent.description.split())}" if agent.description.strip() else ""
    return f"- {agent.agent_key} ({' '.join(agent.agent_name.split())}){about}"
