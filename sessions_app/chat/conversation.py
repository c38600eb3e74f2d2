"""The sitting itself: line after line, from a person or from a pipe."""

from __future__ import annotations

from typing import TextIO

from sessions_app.chat import commands
from sessions_app.chat.commands import COMMANDS, Quit
from sessions_app.chat.problems import ChatError
from sessions_app.chat.screen import BOLD, RED
from sessions_app.chat.sitting import Sitting


def greet(sitting: Sitting) -> None:
    me, wallet = sitting.api.get("/auth/me"), sitting.api.get("/users/me/wallet")
    low: list[str | tuple[str, str]] = [(" LOW", f"{BOLD};{RED}")] if wallet["low_balance"] else []
    sitting.screen.line(f"{me['email']} at {sitting.api.url} · ", (f"balance {wallet['balance']}", BOLD), *low)


def converse(sitting: Sitting) -> None:
    """Until the person leaves. What goes wrong is told, and the next line may be better. Raises: Left."""
    sitting.screen.note("Type a message, or /help.")
    while True:
        sitting.keyboard.complete([*COMMANDS, *(f"@{agent['agent_key']}" for agent in sitting.agents)])
        try:
            line = sitting.keyboard.message().strip()
        except EOFError:
            return sitting.screen.line("")
        except KeyboardInterrupt:
            sitting.screen.line("")
            sitting.screen.note("/quit or Ctrl-D leaves.")
            continue
        try:
            say(sitting, line)
        except ChatError as error:
            sitting.screen.error(str(error))
        except (KeyboardInterrupt, EOFError):
            sitting.screen.line("")
            sitting.screen.note("Stopped.")
        except Quit:
            return None


def recite(sitting: Sitting, lines: TextIO) -> bool:
    """Each line as a turn, up to the first that fails. Whether none did. Raises: ChatError, Left."""
    for raw in lines:
        line = raw.strip()
        if line:
            sitting.screen.line(("> ", BOLD), line)
            try:
                if not say(sitting, line):
                    return False
            except Quit:
                break
    return True


def say(sitting: Sitting, line: str) -> bool:
    """Raises: ChatError, Quit, Left."""
    if not line:
        return True
    if line.startswith("/") and not line.startswith("//"):
        return commands.run(sitting, line)
    return sitting.post(line.removeprefix("/") if line.startswith("//") else line)
