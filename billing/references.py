"""Is the work behind a hold over? Whoever places holds knows; billing, which must not import them, asks here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

IsOver = Callable[[Sequence[UUID]], set[UUID]]
_known: dict[str, IsOver] = {}


def register(reference_type: str, is_over: IsOver) -> None:
    """Say how to tell of which of these references the work is over, those that do not exist included.

    What still runs, or will be recovered, is not over. Called under a wallet's lock: it reads, and locks nothing.
    """
    _known[reference_type] = is_over


def over(references: Iterable[tuple[str, UUID]]) -> set[tuple[str, UUID]]:
    """Those of which the work is over. Of a type that nobody registered nothing is known, so none of them is."""
    by_type: dict[str, list[UUID]] = {}
    for reference_type, id_ in references:
        by_type.setdefault(reference_type, []).append(id_)
    return {
        (reference_type, id_)
        for reference_type, ids in by_type.items()
        if reference_type in _known
        for id_ in _known[reference_type](ids)
    }
