"""Who speaks in a turn, decided before anything is written: from the room's mode and the message. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal
from uuid import UUID

from sessions_app.errors import NoRoomAgents, NoValidTaggedAgents
from sessions_app.tools.toolkits import Toolkit

# Not after a word character, so that an e-mail address is not a tag.
_TAG = re.compile(r"(?<![\w@])@([A-Za-z0-9_]+)")


@dataclass(frozen=True, slots=True)
class Speaker:
    """An agent as it was when the turn opened."""

    agent_id: UUID
    agent_key: str
    agent_name: str
    role_prompt: str
    model_alias: str
    # What the orchestrator is told of it, besides key and name.
    description: str = ""
    # Names of the tools that it may use, and the ids of the room's files that it may read; None for all of them.
    tools: tuple[str, ...] = ()
    file_ids: tuple[str, ...] | None = None

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "agent_id": str(self.agent_id)}

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> Speaker:
        files = data.get("file_ids")
        tools = {"tools": tuple(data.get("tools", ())), "file_ids": None if files is None else tuple(files)}
        return cls(**{**data, **tools, "agent_id": UUID(data["agent_id"])})


@dataclass(frozen=True, slots=True)
class Warning:
    """Said to the client in the stream and on the turn. `code` is API."""

    code: str
    detail: str


Entry = Literal["speak", "route", "synthesise"]


@dataclass(frozen=True, slots=True)
class Resumption:
    """Where a turn that continues an interrupted one begins.

    `speakers`: who is still to speak in the round that was interrupted. `answers`: (agent_key, agent_name, text) of
    those who have. `again`: whether a second round was asked for.
    """

    entry: Entry
    speakers: tuple[Speaker, ...]
    answers: tuple[tuple[str, str, str], ...]
    round: int = 1
    again: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """`mode` says whether a speaker hears the ones before it (`roundtable`) or answers the user alone.

    In an orchestrator room `speakers` are those that the `manager` may choose from. `housekeeper`: in whose name the
    session is summed up. `toolkits`: what speakers can use, by their keys.
    """

    mode: str
    speakers: tuple[Speaker, ...]
    housekeeper: Speaker
    manager: Speaker | None = None
    warnings: tuple[Warning, ...] = ()
    resumption: Resumption | None = None
    toolkits: Mapping[str, Toolkit] = field(default_factory=dict)


def plan_turn(
    *, mode: str, agents: Sequence[Speaker], message: str, manager_alias: str = "", summary_alias: str = ""
) -> Plan:
    """The speakers of a turn: all by position in a round table, the tagged ones in a manual room, the one of its own.

    The manager and the housekeeper call the given aliases, or that of the room's first agent.
    Raises: NoRoomAgents, NoValidTaggedAgents.
    """
    if not agents:
        raise NoRoomAgents
    housekeeper = _stand_in(agents, "notes", "Notes", summary_alias)
    if mode == "manual":
        return _tagged(agents, message, housekeeper)
    manager = _stand_in(agents, "orchestrator", "Orchestrator", manager_alias) if mode == "orchestrator" else None
    return Plan(mode, tuple(agents), housekeeper, manager)


def _stand_in(agents: Sequence[Speaker], key: str, name: str, model_alias: str) -> Speaker:
    """Who makes the turn's own calls. Events want an agent: they name the room's first, and their purpose."""
    first, keys = agents[0], {agent.agent_key for agent in agents}
    free = next(candidate for candidate in (key, *(f"{key}_{n}" for n in range(2, 99))) if candidate not in keys)
    return Speaker(first.agent_id, free, name, "", model_alias or first.model_alias)


def _tagged(agents: Sequence[Speaker], message: str, housekeeper: Speaker) -> Plan:
    """One answer per tagged agent, in the order of first mention. Keys are matched whole, in any case."""
    by_key = {agent.agent_key: agent for agent in agents}
    tags = list(dict.fromkeys(tag.lower() for tag in _TAG.findall(message)))
    unknown = [tag for tag in tags if tag not in by_key]
    chosen = tuple(by_key[tag] for tag in tags if tag in by_key)
    if not chosen:
        raise NoValidTaggedAgents(unknown=[tag[:64] for tag in unknown[:20]], known=sorted(by_key))
    warnings: tuple[Warning, ...] = ()
    if unknown:
        named = ", ".join("@" + tag[:64] for tag in unknown[:20])
        warnings = (Warning("unknown_agent_tags", f"No agent of this room is called {named}."),)
    return Plan("manual", chosen, housekeeper, warnings=warnings)
