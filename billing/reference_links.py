"""Where staff look at the work behind an entry or a hold. It lives in an app that builds on this one, which says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID


class Link(NamedTuple):
    label: str
    url: str


# What the links are for: staff's user, and the id of the work.
Links = Callable[[Any, UUID], list[Link]]
_known: dict[str, Links] = {}


def register(reference_type: str, links: Links) -> None:
    """`links(user, id)`: the pages about it that this user may see. It reads nothing."""
    _known[reference_type] = links


def links_to(reference_type: str, id_: UUID | None, *, user: Any) -> list[Link]:
    links = _known.get(reference_type)
    return [] if links is None or id_ is None else links(user, id_)
