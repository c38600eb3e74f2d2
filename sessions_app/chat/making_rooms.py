"""A room for who has none: its mode, its agents, and what their models cost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sessions_app.chat.problems import ChatError, Problem

if TYPE_CHECKING:
    from sessions_app.chat.sitting import Sitting

MODES = {
    "roundtable": "all answer in turn and hear those before them",
    "manual": "those answer whom you @tag",
    "orchestrator": "a model chooses who answers, and has the last word",
}
DEFAULT_ROLE = "You are a helpful assistant. You answer in a few short sentences."


def make_room(sitting: Sitting) -> dict[str, Any]:
    keyboard, screen = sitting.keyboard, sitting.screen
    name = keyboard.ask(
        "Name of the room", default="First room", required_for="You have no room: run this at a terminal to make one."
    )
    for number, (mode, meaning) in enumerate(MODES.items(), 1):
        screen.line(f"  {number}  {mode}: {meaning}")
    mode = list(MODES)[int(keyboard.number("Mode", len(MODES))) - 1]
    room: dict[str, Any] = sitting.api.post("/rooms", {"name": name, "mode": mode})
    seat_agents(sitting, room)
    return room


def seat_agents(sitting: Sitting, room: dict[str, Any]) -> None:
    """Ask for agents until there are enough. One that exists already is taken by its key."""
    models: list[dict[str, Any]] = sitting.api.get("/models")["results"]
    if not models:
        raise ChatError("This server offers no models, so there can be no agents.")
    existing = {agent["agent_key"]: agent for agent in sitting.api.pages("/agents")}
    if existing:
        sitting.screen.line(f"Your agents: {', '.join(existing)}")
    list_models(sitting, models)
    seated: set[str] = set()
    while True:
        key = _key(sitting, is_first=not seated)
        if not key:
            return
        try:
            agent = existing.get(key) or _make_agent(sitting, key, models)
            if key not in seated:
                sitting.api.post(f"/rooms/{room['id']}/agents", {"agent_id": agent["id"]})
        except Problem as problem:
            sitting.screen.error(str(problem))
        else:
            seated.add(key)


def list_models(sitting: Sitting, models: Sequence[dict[str, Any]]) -> None:
    columns = ("#", "model", "credits per 1k in", "cached", "out", "context")
    rows = [
        [
            number,
            model["model_alias"],
            model["credits_per_1k_input"],
            model["credits_per_1k_cached_input"],
            model["credits_per_1k_output"],
            model["context_tokens"],
        ]
        for number, model in enumerate(models, 1)
    ]
    sitting.screen.table(columns, rows, left={"model"})


def _key(sitting: Sitting, *, is_first: bool) -> str:
    """Empty where there are enough."""
    while True:
        question = "Key of the first agent" if is_first else "Key of the next agent, or Enter if these are all"
        key = sitting.keyboard.ask(question, default="assistant" if is_first else "").lower().removeprefix("@")
        if not key or re.fullmatch("[a-z0-9_]{1,32}", key):
            return key
        sitting.screen.warning("1 to 32 of a-z, 0-9 and _.")


def _make_agent(sitting: Sitting, key: str, models: Sequence[dict[str, Any]]) -> dict[str, Any]:
    keyboard = sitting.keyboard
    role = keyboard.ask("Its role", default=DEFAULT_ROLE)
    model = models[int(keyboard.number("Its model", len(models))) - 1]
    agent: dict[str, Any] = sitting.api.post(
        "/agents",
        {
            "agent_key": key,
            "name": key.replace("_", " ").title().strip() or key,
            "role_prompt": role,
            "model_alias": model["model_alias"],
        },
    )
    return agent
