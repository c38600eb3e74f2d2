"""What parsing may use, what it makes, and how it says no."""

from __future__ import annotations

from dataclasses import dataclass

# More than that and a person would not want to have it read either; each is named where it is refused.
PAGES_MAX = 5_000
CELLS_MAX = 2_000_000
COLUMNS_MAX = 2_048
ZIP_MEMBERS_MAX = 10_000
EXPANDED_MAX_BYTES = 200_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """`seconds` of wall clock and of CPU; `memory_bytes` of address space; text beyond `text_max_chars` is cut."""

    seconds: float
    memory_bytes: int
    text_max_chars: int


@dataclass(frozen=True, slots=True)
class Parsed:
    text: str
    is_truncated: bool


class ParseFailed(Exception):
    """A file that cannot be read. `code` is stable, `detail` is a sentence for whoever uploaded it."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class ParserDied(Exception):
    """The child ended without a word, for a reason that may not be the file's. Worth another try."""


class TextFull(Exception):
    """Enough text; what comes after it is left out."""


class TextOut:
    """Collects text up to a limit. NUL is left out, which PostgreSQL cannot store, and so are halves of surrogates."""

    def __init__(self, max_chars: int) -> None:
        self.left = max_chars
        self.pieces: list[str] = []

    def add(self, piece: str) -> None:
        """Raises: TextFull."""
        piece = piece.replace("\x00", "").encode("utf-8", "ignore").decode()
        self.pieces.append(piece[: self.left])
        self.left -= len(piece)
        if self.left < 0:
            raise TextFull

    def text(self) -> str:
        return "".join(self.pieces)
