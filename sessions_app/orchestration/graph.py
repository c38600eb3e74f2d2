"""The whole conversation of a turn, on one screen.

    START ──▶ summarise ──┬──────────▶ speak ──▶ speak ──▶ … ──┬──▶ END
                          └──▶ route ──▶┘ ▲                    ├──▶ synthesise ──▶ END
                                          └─── route again ◀───┘

`speak` is one call of one agent. In a round table, and where an orchestrator routes, each hears the answers before it;
tagged agents of a manual room and an agent on its own answer the user alone. One agent's failure is its own: the next
one speaks all the same. An orchestrator chooses who speaks, may ask for one more round, and has the last word; one that
fails is replaced by the room's first agent.

Compiled once per process; everything a run needs comes with it as context, so runs share nothing.
"""

from __future__ import annotations

from typing import Any, Literal

from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command

from sessions_app.orchestration import asks, routing
from sessions_app.orchestration.deciding import decide
from sessions_app.orchestration.state import TurnPorts, TurnState, heard, start

NextNode = Literal["speak", "route", "synthesise", "__end__"]


async def summarise(state: TurnState, runtime: Runtime[TurnPorts]) -> Command[NextNode]:
    await runtime.context.summarise()
    if state["entry"] == "speak" and runtime.context.plan.mode == "orchestrator":
        runtime.context.emit("round_start", {"round": state["round"]})
    return Command(goto=state["entry"])


async def route(state: TurnState, runtime: Runtime[TurnPorts]) -> Command[NextNode]:
    ports = runtime.context
    decision = await decide(ports, heard(state))
    if decision is None:
        return Command(goto="__end__")
    if not decision.speakers:
        return Command(goto="synthesise")
    ports.emit("round_start", {"round": state["round"]})
    update = {
        "speakers": decision.speakers,
        "next": 0,
        "again": decision.second_round and state["round"] < routing.MAX_ROUNDS,
        "is_routed": state["is_routed"] or decision.is_understood,
    }
    return Command(update=update, goto="speak")


async def speak(state: TurnState, runtime: Runtime[TurnPorts]) -> Command[NextNode]:
    ports = runtime.context
    speaker = state["speakers"][state["next"]]
    reply = await ports.ask(asks.speech(speaker, () if ports.plan.mode in asks.ALONE else heard(state)))
    if reply is None:
        return Command(goto="__end__")
    following = state["next"] + 1
    answered = [(speaker.agent_key, speaker.agent_name, reply.text)] if reply.text else []
    update: dict[str, Any] = {"next": following, "answers": answered}
    if following < len(state["speakers"]):
        return Command(update=update, goto="speak")
    if ports.plan.mode != "orchestrator":
        return Command(update=update, goto="__end__")
    ports.emit("round_end", {"round": state["round"]})
    has_answers = bool(state["answers"] or answered)
    if state["again"] and has_answers:
        return Command(update={**update, "round": state["round"] + 1}, goto="route")
    # Without an answer there is nothing to sum up, and an orchestrator that nobody understood has no say in it.
    return Command(update=update, goto="synthesise" if has_answers and state["is_routed"] else "__end__")


async def synthesise(state: TurnState, runtime: Runtime[TurnPorts]) -> None:
    await runtime.context.ask(asks.synthesise(runtime.context.plan, heard(state)))


def _compile() -> Any:
    builder = StateGraph(TurnState, context_schema=TurnPorts)
    builder.add_node("summarise", summarise)
    builder.add_node("route", route)
    builder.add_node("speak", speak)
    builder.add_node("synthesise", synthesise)
    builder.add_edge(START, "summarise")
    return builder.compile()


GRAPH = _compile()


async def run_graph(ports: TurnPorts) -> None:
    """Let the speakers of a plan speak. What they said and cost is in the meter behind `ports.ask`."""
    # Each round a route and all who may speak, then the summary, the synthesis and the end: a loop that should not be
    # is an error, not a bill.
    rounds = routing.MAX_ROUNDS if ports.plan.mode == "orchestrator" else 1
    limit = rounds * (len(ports.plan.speakers) + 1) + 3
    await GRAPH.ainvoke(start(ports.plan), config={"recursion_limit": limit}, context=ports)
