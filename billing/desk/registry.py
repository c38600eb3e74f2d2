"""Which reports there are. An app that builds on this one adds its own at its start, and says what ids are called."""

from __future__ import annotations

from collections.abc import Callable, Collection
from uuid import UUID

from billing.desk.pieces import Link, Report

Names = Callable[[Collection[UUID]], dict[UUID, Link]]
_reports: dict[str, Report] = {}
_names: dict[str, Names] = {}


def register(report: Report) -> None:
    _reports[report.name] = report


def register_names(subject: str, names: Names) -> None:
    """`names(ids)`: what each id of a user, room or agent is called, and its page."""
    _names[subject] = names


def reports() -> list[Report]:
    return list(_reports.values())


def named(subject: str, ids: Collection[UUID | None]) -> dict[UUID | None, Link]:
    """Every id with its name, or itself where it has none."""
    known = [id_ for id_ in ids if id_ is not None]
    found = _names[subject](known) if subject in _names and known else {}
    return {id_: found.get(id_) or Link(str(id_)) for id_ in known}
