"""What one agent can use in one turn: the tools that it is offered, and the files that it is told of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from files.reading import FileInfo
from sessions_app.context.conversation import attributed
from sessions_app.llm.types import Message, ToolSpec
from sessions_app.tools.registry import offered, spec_of

_FILES_TOLD = 20
_NAME_CHARS = 120


@dataclass(frozen=True, slots=True)
class Toolkit:
    """`files`: the list of files as a message; file names are other people's words."""

    specs: tuple[ToolSpec, ...]
    files: Message | None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.specs)


def toolkit_of(
    permitted: Sequence[str], files: Sequence[FileInfo], *, allowed: Sequence[str] | None, mark: str
) -> Toolkit | None:
    """None where there is nothing to use. `allowed`: the ids of the files that the agent may read, None for all."""
    readable = [
        file for file in files if file.parse_status == "completed" and (allowed is None or str(file.id) in allowed)
    ]
    tools = offered(permitted, has_files=bool(readable))
    if not tools:
        return None
    is_told = any(tool.reads_files for tool in tools)
    return Toolkit(tuple(spec_of(tool) for tool in tools), _told(readable, mark) if is_told else None)


def _told(files: Sequence[FileInfo], mark: str) -> Message:
    lines = [
        f"- {file.id}: {' '.join(file.name.split())[:_NAME_CHARS]} ({file.kind}, {file.characters} characters)"
        for file in files[:_FILES_TOLD]
    ]
    if len(files) > _FILES_TOLD:
        lines.append(f"- and {len(files) - _FILES_TOLD} more, which file_search looks through, too")
    return Message("user", attributed("Files of this room", "\n".join(lines), mark))
