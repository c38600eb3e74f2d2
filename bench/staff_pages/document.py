"""What was measured, as Markdown: a table of the pages, and the plan of each statement once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from textwrap import fill
from typing import Any

from bench.staff_pages.pages import Page
from bench.staff_pages.timing import Statement, Timed, plan

_HEAD = """# Staff's pages at {events:,} events

{where}

Under each heading a table of its pages, then the plan of each statement, once, under the first page that asks it:
EXPLAIN ANALYZE, the lines that say how rows are found, with the time at which each was done and the rows that it gave.
Plans that differ in nothing but their numbers are given once. Left out: the statements of every request (session,
user), and columns that are only read.
"""
_WHERE = (
    "Written by `python -m bench.staff_pages --plans docs/query-plans.md` on a database of `make seed-big`: {rows}."
    " Each page was opened {times} times in one process, by Django's test client, with all its middleware."
    " {cores} cores, load {load:.1f} when it ended, PostgreSQL {postgres} with its default settings."
)
# Lines of a plan that say how rows are found, and how many there were.
_NODE = re.compile(
    r"(?<!Subquery )Scan|Append|Aggregate|Sort  |Limit|WindowAgg|Nested Loop|Hash Join|Merge|Gather|Unique|SubPlan"
)
_COST = re.compile(r" \(actual time=\S+?\.\.(\S+) rows=(\d+)\S* loops=(\d+)\)")
_LONGEST = 420


def document(found: Sequence[tuple[Page, Timed]], *, facts: Mapping[str, Any]) -> str:
    """All of it. `facts` are what the head says of the database and the machine."""
    where = fill(_WHERE.format(times=len(found[0][1].ms), **facts), width=120, break_on_hyphens=False)
    lines = [_HEAD.format(where=where, **facts)]
    seen: set[str] = set()
    for group, pages in groupby(found, key=lambda one: one[0].group):
        own = list(pages)
        lines += [f"## {group}", "", *table(own), *plans(own, seen), ""]
    return "\n".join(lines)


def table(pages: Sequence[tuple[Page, Timed]]) -> Iterator[str]:
    yield "| page | median, ms | least–most | statements | the slowest of them, ms |"
    yield "|---|---|---|---|---|"
    for page, timed in pages:
        slowest = max((one.ms for one in timed.statements), default=0)
        yield (
            f"| {page.name} | {timed.median:.0f} | {min(timed.ms):.0f}–{max(timed.ms):.0f} "
            f"| {len(timed.statements)} | {slowest:.0f} |"
        )


def plans(pages: Iterable[tuple[Page, Timed]], seen: set[str]) -> Iterator[str]:
    """Of each statement and each plan that was not seen before, where it took longest on its page."""
    for page, timed in pages:
        for statement in _slowest_of_each_shape(timed):
            if statement.shape in seen:
                continue
            nodes = list(_nodes(plan(statement)))
            kind = re.sub(r"\([^)]*rows=[^)]*\)|never executed", "", "\n".join(nodes))
            if kind not in seen:
                yield from (
                    "",
                    f"**{page.name}**, {statement.ms:.0f} ms",
                    "",
                    "```",
                    _shortened(statement),
                    *nodes,
                    "```",
                )
            seen |= {statement.shape, kind}


def _slowest_of_each_shape(timed: Timed) -> list[Statement]:
    found: dict[str, Statement] = {}
    for statement in timed.statements:
        if statement.ms > getattr(found.get(statement.shape), "ms", 0):
            found[statement.shape] = statement
    return list(found.values())


def _shortened(statement: Statement) -> str:
    """Without the columns that it reads."""
    text = re.sub(r'SELECT (?:DISTINCT )?("\w+"\."\w+",? ?(?:AS "\w+",? ?)?)+', "SELECT … ", statement.shape)
    text = re.sub(r"sum\(calls\).* AS provider_cost_usd\b(?= FROM)", "sums of all measures", text, count=1)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"


def _nodes(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if _NODE.search(line):
            yield _COST.sub(lambda found: f" ({found[1]} ms, rows={found[2]}{_loops(found[3])})", line)


def _loops(loops: str) -> str:
    return "" if loops == "1" else f", {loops} times"
