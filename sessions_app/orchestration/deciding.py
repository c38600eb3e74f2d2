"""Asking the orchestrator who is to speak, once more where it was not understood, and the first agent after that."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sessions_app import metrics
from sessions_app.context.conversation import Utterance
from sessions_app.orchestration import asks, routing
from sessions_app.orchestration.routing import MAX_SPEAKERS, Routing
from sessions_app.orchestration.state import Reply, TurnPorts
from sessions_app.turns.planning import Speaker

ROUTING_FALLBACK = "routing_fallback"
ROUTING_TRUNCATED = "routing_truncated"


@dataclass(frozen=True, slots=True)
class Decision:
    speakers: tuple[Speaker, ...]
    second_round: bool
    is_understood: bool


async def decide(ports: TurnPorts, answers: tuple[Utterance, ...]) -> Decision | None:
    """Who speaks next, at most two calls later. None when the wallet allows no further call.

    In the first round somebody always speaks. In the second nobody may be the answer, and not to be understood is one.
    """
    question = asks.route(ports.plan, answers)
    reply = await ports.ask(question)
    if reply is None:
        return None
    found = _understood(ports, reply, answers)
    if found is None and (again := _once_more(ports, reply, answers)) is not None:
        reply = await ports.ask(again)
        if reply is None:
            return None
        found = _understood(ports, reply, answers)
    if found is not None:
        if found.left_out:
            ports.warn(ROUTING_TRUNCATED, f"The orchestrator chose {found.left_out} agents beyond {MAX_SPEAKERS}.")
        return Decision(found.speakers, found.second_round, is_understood=True)
    if answers:
        return Decision((), second_round=False, is_understood=False)
    first = ports.plan.speakers[0]
    metrics.routing_fell_back("provider_error" if reply.failed else "malformed")
    said = "failed" if reply.failed else "named no agent of this room"
    ports.warn(ROUTING_FALLBACK, f"The orchestrator {said}, so @{first.agent_key} answers.")
    return Decision((first,), second_round=False, is_understood=False)


def _understood(ports: TurnPorts, reply: Reply, answers: tuple[Utterance, ...]) -> Routing | None:
    return routing.understood(reply.text, ports.plan.speakers, may_be_nobody=bool(answers))


def _once_more(ports: TurnPorts, reply: Reply, answers: tuple[Utterance, ...]) -> asks.Ask | None:
    """What to ask after an answer that named nobody; None where the provider failed and asking again would not help."""
    if not reply.failed:
        return asks.route(ports.plan, answers, failed=reply.text)
    if reply.http_status in asks.REFUSES_SCHEMA:
        return replace(asks.route(ports.plan, answers), schema=None)
    return None
