"""The page that shows how a tool is added shows one that works."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from config.core.ids import uuid7
from sessions_app.tools.base import Scope
from sessions_app.tools.registry import TOOLS, offered, spec_of
from sessions_app.tools.using import checked

PAGE = Path(__file__).parents[3] / "docs" / "tools.md"


def test_the_tool_of_the_page_is_offered_checked_and_run(monkeypatch):
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    module: dict[str, object] = {"__name__": "dice"}
    exec(code, module)  # noqa: S102 - our own page
    monkeypatch.setitem(TOOLS, "dice", module["Dice"]())
    [tool] = offered(["dice"], has_files=False)
    assert spec_of(tool).parameters["properties"]["sides"] == {
        "description": "How many sides the die has.", "minimum": 2, "maximum": 1000, "type": "integer",
    }  # fmt: skip
    scope = Scope(user_id=uuid7(), room_id=uuid7(), agent_id=uuid7(), files=None, room_bytes=100)
    thrown = {asyncio.run(tool.run(checked(tool, '{"sides": 2}'), scope)) for _ in range(64)}
    assert thrown == {"1", "2"}


def test_the_page_names_every_tool():
    named = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE))
    assert named == set(TOOLS)
