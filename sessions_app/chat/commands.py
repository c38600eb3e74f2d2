"""What a line that begins with a slash does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sessions_app.chat import reports, rooms
from sessions_app.chat.making_rooms import MODES, make_room
from sessions_app.chat.problems import ChatError, Problem
from sessions_app.chat.sitting import Sitting
from sessions_app.chat.turn_stream import TurnStream

HISTORY_DEFAULT, HISTORY_MAX = 20, 200
FORMATS = {".md": "md", ".json": "json"}


class Quit(Exception):
    """The person is done."""


@dataclass(frozen=True)
class SlashCommand:
    """`run` says whether all went well: a turn that did not complete is a failure for a script."""

    arguments: str
    help: str
    run: Callable[[Sitting, str], bool | None]


def run(sitting: Sitting, line: str) -> bool:
    """Raises: ChatError, Quit, Left."""
    name, _, argument = line.partition(" ")
    command = COMMANDS.get(name.lower())
    if command is None:
        raise ChatError(f"There is no {name}; /help lists the commands. A message that begins with / is sent as //…")
    return command.run(sitting, argument.strip()) is not False


def show_help(sitting: Sitting, _argument: str) -> None:
    for name, command in COMMANDS.items():
        sitting.screen.line(f"  {f'{name} {command.arguments}'.strip():<27} {command.help}")
    sitting.screen.note("  //TEXT sends a message that begins with a slash. Ctrl-C while agents answer asks to cancel.")


def show_bill(sitting: Sitting, _argument: str) -> None:
    reports.bill(sitting.screen, sitting.api.get(f"/turns/{sitting.last_turn_id()}/bill"))


def show_wallet(sitting: Sitting, _argument: str) -> None:
    reports.wallet(sitting.screen, sitting.api.get("/users/me/wallet"))


def show_usage(sitting: Sitting, _argument: str) -> None:
    reports.usage(sitting.screen, sitting.api.get("/users/me/usage", group_by="model_alias"))


def show_rooms(sitting: Sitting, argument: str) -> None:
    """The list, or another room by its number, name or id."""
    found = list(sitting.api.pages("/rooms"))
    if not argument:
        rooms.list_rooms(sitting, found)
        sitting.screen.note("  /rooms NUMBER or NAME goes there, /rooms new makes one")
    elif argument == "new":
        rooms.enter_room(sitting, make_room(sitting))
    elif argument.isdecimal() and 1 <= int(argument) <= len(found):
        rooms.enter_room(sitting, found[int(argument) - 1])
    else:
        rooms.enter_room(sitting, rooms.room_named(sitting, argument))


def show_agents(sitting: Sitting, _argument: str) -> None:
    if sitting.room is not None:
        sitting.agents = rooms.agents_of(sitting, sitting.room)
    reports.agents(sitting.screen, sitting.agents, sitting.api.get("/models")["results"])


def show_history(sitting: Sitting, argument: str) -> None:
    count = int(argument) if argument.isdecimal() else HISTORY_DEFAULT
    page = sitting.api.get(f"/sessions/{sitting.session_id}/messages", page_size=max(1, min(count, HISTORY_MAX)))
    reports.history(sitting.screen, page["results"][::-1], sitting.palette)


def show_context(sitting: Sitting, _argument: str) -> None:
    reports.context(sitting.screen, sitting.api.get(f"/turns/{sitting.last_turn_id()}/context"))


def regenerate(sitting: Sitting, _argument: str) -> bool:
    return sitting.regenerate()


def export(sitting: Sitting, argument: str) -> None:
    """Never over a file that is there already; one that could not be finished is taken away."""
    path = Path(argument).expanduser()
    if path.suffix not in FORMATS:
        raise ChatError("Name a file that ends in .md or .json.")
    try:
        with path.open("xb") as file:
            try:
                pieces = sitting.api.download(f"/sessions/{sitting.session_id}/export", format=FORMATS[path.suffix])
                file.writelines(pieces)
            except BaseException:
                path.unlink()
                raise
    except FileExistsError:
        raise ChatError(f"{path} is there already; name another file.") from None
    except OSError as error:
        raise ChatError(f"{path} cannot be written: {error.strerror}.") from None
    sitting.screen.line(f"Written to {path} ({path.stat().st_size} bytes).")


def estimate(sitting: Sitting, argument: str) -> None:
    if not argument:
        raise ChatError("What would be said? /estimate TEXT")
    limit = {} if sitting.max_output_tokens is None else {"max_output_tokens": sitting.max_output_tokens}
    shown = sitting.api.post(f"/sessions/{sitting.session_id}/turns/estimate", {"message": argument, **limit})
    reports.estimate(sitting.screen, shown)


def set_mode(sitting: Sitting, argument: str) -> None:
    if sitting.room is None:
        raise ChatError("A session with one agent alone has no mode.")
    if argument not in MODES:
        raise ChatError(f"/mode is one of {', '.join(MODES)}; this room is {sitting.room['mode']}.")
    sitting.room = sitting.api.patch(f"/rooms/{sitting.room['id']}/mode", {"mode": argument})
    sitting.screen.line(f"From the next turn on: {argument}, {MODES[argument]}.")


def cancel(sitting: Sitting, _argument: str) -> None:
    turn = sitting.last_turn()
    if turn["status"] not in {"queued", "running"}:
        raise ChatError(f"No turn is running: the last one is {turn['status']}.")
    try:
        sitting.api.post(f"/turns/{turn['id']}/cancel")
    except Problem as problem:
        if not problem.is_missing_operation:
            raise
        raise ChatError("This server cannot cancel turns: it goes on.") from None
    sitting.screen.line("Cancelled: what was used is billed.")


def resume(sitting: Sitting, _argument: str) -> bool:
    """Watch a turn that still runs, from where we lost it; go on with one that was interrupted."""
    if sitting.unfinished is not None:
        return sitting.run(*sitting.unfinished)
    turn = sitting.last_turn()
    if turn["status"] in {"queued", "running"}:
        return sitting.run(TurnStream(sitting.api, turn_id=turn["id"]))
    if turn["status"] != "interrupted":
        raise ChatError(f"There is nothing to resume: the last turn is {turn['status']}.")
    try:
        return sitting.run(TurnStream(sitting.api, path=f"/turns/{turn['id']}/resume/stream"))
    except Problem as problem:
        if problem.is_missing_operation:
            raise ChatError("This server cannot resume turns; /regenerate makes it anew.") from None
        raise


def leave(_sitting: Sitting, _argument: str) -> None:
    raise Quit


COMMANDS = {
    "/help": SlashCommand("", "this list", show_help),
    "/bill": SlashCommand("", "the itemised bill of the last turn, with the formula", show_bill),
    "/wallet": SlashCommand("", "balance, holds and grants", show_wallet),
    "/usage": SlashCommand("", "tokens and credits of the last 30 days", show_usage),
    "/rooms": SlashCommand("[NUMBER|NAME|new]", "your rooms, or go to one", show_rooms),
    "/agents": SlashCommand("", "who is in this room, and what their models cost", show_agents),
    "/history": SlashCommand("[COUNT]", "the last messages of this session", show_history),
    "/context": SlashCommand("", "what the last turn read, and what was cut", show_context),
    "/regenerate": SlashCommand("", "make the last turn anew; it is billed, too", regenerate),
    "/export": SlashCommand("FILE.md|FILE.json", "write the session to a file", export),
    "/estimate": SlashCommand("TEXT", "what a turn would cost at most", estimate),
    "/mode": SlashCommand("MODE", "manual, roundtable or orchestrator", set_mode),
    "/cancel": SlashCommand("", "stop the turn that runs in this session", cancel),
    "/resume": SlashCommand("", "watch a turn that still runs, or go on with an interrupted one", resume),
    "/quit": SlashCommand("", "leave; so does Ctrl-D", leave),
}
