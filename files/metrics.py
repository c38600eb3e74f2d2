"""What is counted of files, once it is committed."""

from __future__ import annotations

from config.core.metrics import counter, histogram

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_PARSED = counter("files_parsed_total", "Files that were parsed, by kind and outcome.", ("kind", "outcome"))
_DURATION = histogram(
    "file_parse_duration_seconds", "One attempt to parse a file, by kind.", ("kind",), buckets=_SECONDS
)

_ORPHANS_LEFT = counter("file_orphans_left_total", "Objects without a file that a night found too many to remove.")


def parsed(*, kind: str, outcome: str) -> None:
    """`outcome` is `completed` or a code of ours."""
    _PARSED.labels(kind, outcome).inc()


def attempted(*, kind: str, seconds: float) -> None:
    _DURATION.labels(kind).observe(seconds)


def orphans_left(objects: int) -> None:
    _ORPHANS_LEFT.inc(objects)
