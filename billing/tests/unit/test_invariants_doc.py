"""What the page about the invariants names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from billing.invariants.per_wallet import QUERIES

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "ledger-invariants.md").read_text()
SECTIONS = dict(re.findall(r"^## (L\d+): .*?\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL))
TESTS = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)


def test_every_invariant_has_a_section():
    assert list(SECTIONS) == [f"L{number}" for number in range(1, len(SECTIONS) + 1)]
    assert set(QUERIES) <= set(SECTIONS)


@pytest.mark.parametrize("invariant", sorted(SECTIONS))
def test_each_says_what_refuses_it_what_tests_it_how_to_look_and_how_to_repair(invariant):
    body = SECTIONS[invariant]
    for part in ("- Constraint: ", "- Test: `", "```sql\n", "Repair: "):
        assert part in body


@pytest.mark.parametrize(("file", "name"), sorted(set(TESTS)))
def test_a_test_that_is_named_exists(file, name):
    assert f"\ndef {name}(" in (ROOT / file).read_text()
