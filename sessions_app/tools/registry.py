"""The tools that there are. A new one: its file, and its line here."""

from __future__ import annotations

from collections.abc import Iterable

from sessions_app.llm.types import ToolSpec
from sessions_app.tools.base import Tool
from sessions_app.tools.file_read import FileRead
from sessions_app.tools.file_search import FileSearch
from sessions_app.tools.search import Search

TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        Search(),
        FileRead(),
        FileSearch(),
    )
}


def offered(permitted: Iterable[str], *, has_files: bool) -> tuple[Tool, ...]:
    """What an agent with these permissions can use here and now, in the registry's order."""
    names = set(permitted)
    return tuple(
        tool
        for tool in TOOLS.values()
        if tool.name in names and tool.is_configured() and (has_files or not tool.reads_files)
    )


def spec_of(tool: Tool) -> ToolSpec:
    return ToolSpec(tool.name, tool.description, tool.parameters())
