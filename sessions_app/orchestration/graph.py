"""The whole conversation of a turn, on one screen.

    START ──▶ speak ──▶ speak ──▶ … ──▶ END

One node, once per speaker. In a round table each hears the answers before it; tagged agents of a manual room and an
agent on its own answer the user alone. One agent's failure is its own: the next one speaks all the same.

Compiled once per process; everything a run needs comes with it as context, so runs share nothing.
"""

from __future__ import annotations

from typing import Any, Literal

from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command

from sessions_app.context.window import Utterance
from sessions_app.orchestration.state import TurnPorts, TurnState, start

NextNode = Literal["speak", "__end__"]


async def speak(state: TurnState, runtime: Runtime[TurnPorts]) -> Command[NextNode]:
    ports = runtime.context
    speaker = ports.plan.speakers[state["next"]]
    heard = tuple(Utterance(*answer) for answer in state["answers"]) if ports.plan.mode == "roundtable" else ()
    reply = await ports.ask(speaker, heard)
    if reply is None:
        return Command(goto="__end__")
    following = state["next"] + 1
    answered = [(speaker.agent_key, speaker.agent_name, reply.text)] if reply.text else []
    goto: NextNode = "speak" if following < len(ports.plan.speakers) else "__end__"
    return Command(update={"next": following, "answers": answered}, goto=goto)


def _compile() -> Any:
    builder = StateGraph(TurnState, context_schema=TurnPorts)
    builder.add_node("speak", speak)
    builder.add_edge(START, "speak")
    return builder.compile()


GRAPH = _compile()


async def run_graph(ports: TurnPorts) -> None:
    """Let the speakers of a plan speak. What they said and cost is in the meter behind `ports.ask`."""
    # One step a speaker and one to end: a loop that should not be is an error, not a bill.
    await GRAPH.ainvoke(start(), config={"recursion_limit": len(ports.plan.speakers) + 2}, context=ports)
