"""What a person types: with line editing, and with a history of the messages of this sitting, which is not stored."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterable, Sequence

from sessions_app.chat.problems import ChatError
from sessions_app.chat.screen import BOLD, Screen

try:
    import readline
except ImportError:  # not on every platform; typing works without it
    readline = None  # type: ignore[assignment]

PROMPT = "you> "


class Keyboard:
    """`interactive`: a person sits there. Otherwise nobody can be asked anything."""

    def __init__(self, screen: Screen, *, interactive: bool) -> None:
        self.interactive = interactive
        self._screen = screen
        if readline is not None:
            # Answers to questions are no messages: only `message` adds to the history.
            readline.set_auto_history(False)

    def complete(self, words: Iterable[str]) -> None:
        """What the Tab key knows: commands, and the agents that can be tagged."""
        if readline is None:
            return
        known = sorted(words)

        def word(text: str, state: int) -> str | None:
            return next(iter([option for option in known if option.startswith(text)][state : state + 1]), None)

        readline.set_completer_delims(" \n")
        readline.set_completer(word)
        is_libedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")

    def message(self) -> str:
        """Raises: EOFError, KeyboardInterrupt."""
        self._screen.end_line()
        text = input(self._prompt(PROMPT))
        if readline is not None and text.strip():
            readline.add_history(text)
        return text

    def ask(self, question: str, *, default: str = "", required_for: str = "") -> str:
        """A line, or the default where it is left empty. Raises: ChatError where nobody can be asked."""
        if not self.interactive:
            raise ChatError(required_for or f"There is nobody to ask: {question}")
        self._screen.end_line()
        shown = f" [{default}]" if default else ""
        return input(self._prompt(f"{question}{shown}: ")).strip() or default

    def secret(self, question: str) -> str:
        return getpass.getpass(f"{question}: ")

    def number(self, question: str, count: int, *, default: int = 1, others: Sequence[str] = ()) -> str:
        """One of 1 to `count`, or of the other answers. Asks until it is."""
        while True:
            answer = self.ask(question, default=str(default) if default else "")
            if answer in others or (re.fullmatch("[0-9]{1,4}", answer) and 1 <= int(answer) <= count):
                return answer
            self._screen.warning(f"A number from 1 to {count}" + "".join(f", or {word}" for word in others) + ".")

    def _prompt(self, text: str) -> str:
        """Readline must know which characters take no room, or it would misplace the cursor."""
        styled = self._screen.styled(text, BOLD)
        return styled if readline is None else re.sub("(\033\\[[0-9;]*m)", "\001\\1\002", styled)
