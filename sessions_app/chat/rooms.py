"""Which room and which session: named, chosen from a list, or made."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sessions_app.chat.making_rooms import make_room, seat_agents
from sessions_app.chat.problems import ChatError
from sessions_app.chat.sitting import Sitting

SHOWN_MAX = 20


def enter(sitting: Sitting, *, room: str, session: str) -> None:
    """Open what the command line names, or what the person chooses."""
    if session not in {"", "new", "last"}:
        return enter_session(sitting, session)
    chosen = room_named(sitting, room) if room else choose_room(sitting)
    return enter_room(sitting, chosen, continues=session == "last", asks=not session)


def enter_session(sitting: Sitting, session_id: str) -> None:
    if not _is_id(session_id):
        raise ChatError(f"{session_id} is not the id of a session.")
    session = sitting.api.get(f"/sessions/{session_id}")
    if session["room_id"] is None:
        agents = [sitting.api.get(f"/agents/{session['agent_id']}")]
        sitting.enter(room=None, agents=agents, session_id=session_id)
    else:
        room = sitting.api.get(f"/rooms/{session['room_id']}")
        sitting.enter(room=room, agents=agents_of(sitting, room), session_id=session_id)
    introduce(sitting, session)


def enter_room(sitting: Sitting, room: dict[str, Any], *, continues: bool = False, asks: bool = True) -> None:
    """With a new session, unless an old one is to be continued."""
    agents = agents_of(sitting, room)
    if not agents and sitting.keyboard.interactive:
        sitting.screen.line(f"{room['name']} has no agents yet.")
        seat_agents(sitting, room)
        agents = agents_of(sitting, room)
    session = _old_session(sitting, room, continues=continues, asks=asks)
    if session is None:
        session = sitting.api.post(f"/rooms/{room['id']}/sessions")
    sitting.enter(room=room, agents=agents, session_id=session["id"])
    introduce(sitting, session)


def _old_session(sitting: Sitting, room: dict[str, Any], *, continues: bool, asks: bool) -> dict[str, Any] | None:
    if not continues and not (asks and sitting.keyboard.interactive):
        return None
    sessions: list[dict[str, Any]] = sitting.api.get(f"/rooms/{room['id']}/sessions", page_size=SHOWN_MAX)["results"]
    if not sessions:
        return None
    if continues:
        return sessions[0]
    for number, session in enumerate(sessions, 1):
        sitting.screen.line(f"  {number:>2}  {session['title'] or 'untitled'} · {day(session)}")
    answer = sitting.keyboard.number(
        "Continue a session, or Enter for a new one", len(sessions), default=0, others=("",)
    )
    return sessions[int(answer) - 1] if answer else None


def choose_room(sitting: Sitting) -> dict[str, Any]:
    rooms = list(sitting.api.pages("/rooms"))
    if not rooms:
        sitting.screen.line("You have no room yet, so let us make one.")
        return make_room(sitting)
    if not sitting.keyboard.interactive:
        if len(rooms) == 1:
            return rooms[0]
        raise ChatError(f"Which of your {len(rooms)} rooms? Name it with --room.")
    list_rooms(sitting, rooms)
    answer = sitting.keyboard.number("Room, or n for a new one", len(rooms), others=("n",))
    return make_room(sitting) if answer == "n" else rooms[int(answer) - 1]


def list_rooms(sitting: Sitting, rooms: list[dict[str, Any]]) -> None:
    current = sitting.room["id"] if sitting.room else None
    for number, room in enumerate(rooms, 1):
        here = " · here" if room["id"] == current else ""
        sitting.screen.line(f"  {number:>2}  {room['name']} · {room['mode']} · {day(room)}{here}")


def room_named(sitting: Sitting, wanted: str) -> dict[str, Any]:
    """By its id or its name. Of several with one name, the newest. Raises: ChatError."""
    if _is_id(wanted):
        room: dict[str, Any] = sitting.api.get(f"/rooms/{wanted}")
        return room
    found = [room for room in sitting.api.pages("/rooms") if room["name"].casefold() == wanted.casefold()]
    if not found:
        raise ChatError(f"You have no room that is called {wanted}.")
    if len(found) > 1:
        sitting.screen.note(f"{len(found)} of your rooms are called {wanted}: this is the newest.")
    return found[0]


def agents_of(sitting: Sitting, room: dict[str, Any]) -> list[dict[str, Any]]:
    return list(sitting.api.pages(f"/rooms/{room['id']}/agents"))


def introduce(sitting: Sitting, session: dict[str, Any]) -> None:
    """Where we are and who listens."""
    for agent in sitting.agents:
        # In the order of the room, so that each has its colour from the start.
        sitting.palette[agent["agent_key"]]
    where = f"{sitting.room['name']} ({sitting.room['mode']})" if sitting.room else "Alone with"
    who = ", ".join(f"@{agent['agent_key']} ({agent['model_alias']})" for agent in sitting.agents)
    sitting.screen.line(f"{where} · {who or 'no agents'}")
    sitting.screen.note(f"Session {session['id']}{' · ' + session['title'] if session['title'] else ''}")


def day(row: dict[str, Any]) -> str:
    return str(row["created_at"])[:10]


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
