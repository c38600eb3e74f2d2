"""What a person sees. Everything that is written passes through here, so nothing of others steers the terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import cycle
from typing import TextIO

from sessions_app.chat.safe_text import neutralised, on_one_line, table

BOLD, DIM, RED, YELLOW, GREEN = "1", "2", "31", "33", "32"
# Cyan, magenta, blue, green, and their bright sisters. Red and yellow are kept for what went wrong.
_AGENT_COLOURS = ("36", "35", "94", "32", "96", "95", "34", "92")


class Palette:
    """One colour for each agent, the same through the whole sitting."""

    def __init__(self) -> None:
        self._colours: dict[str, str] = {}
        self._next = cycle(_AGENT_COLOURS)

    def __getitem__(self, agent_key: str) -> str:
        if agent_key not in self._colours:
            self._colours[agent_key] = next(self._next)
        return self._colours[agent_key]


class Screen:
    """Writes at once. Each piece is reset behind itself: whatever ends the client leaves no colour on the terminal."""

    def __init__(self, output: TextIO, *, coloured: bool) -> None:
        self._output = output
        self._is_coloured = coloured
        self._is_mid_line = False

    def text(self, text: str, style: str = "") -> None:
        """Running text of any number of lines, as it comes."""
        if text:
            self._write(neutralised(text), style)
            self._is_mid_line = not text.endswith("\n")

    def line(self, *pieces: str | tuple[str, str]) -> None:
        """A line of its own, of texts or (text, style)."""
        self.end_line()
        for piece in pieces:
            text, style = piece if isinstance(piece, tuple) else (piece, "")
            self._write(on_one_line(text), style)
        self._write("\n")

    def end_line(self) -> None:
        if self._is_mid_line:
            self._write("\n")
            self._is_mid_line = False

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], *, left: Collection[str] = ()) -> None:
        head, *rest = table(columns, rows, left=left)
        self.end_line()
        self._write(head, BOLD)
        self._write("\n" + "\n".join(rest) + "\n")

    def note(self, text: str) -> None:
        self.line((text, DIM))

    def warning(self, text: str) -> None:
        self.line((text, YELLOW))

    def error(self, text: str) -> None:
        self.line((text, f"{BOLD};{RED}"))

    def styled(self, text: str, style: str) -> str:
        return f"\033[{style}m{text}\033[0m" if self._is_coloured and style and text else text

    def _write(self, text: str, style: str = "") -> None:
        self._output.write(self.styled(text, style))
        self._output.flush()
