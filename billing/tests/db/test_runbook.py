"""What the runbook tells an operator to type is true of this database."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.db import connection

from billing.cost_rules import KINDS
from billing.models import CostFinding

RUNBOOK = (Path(__file__).parents[3] / "docs" / "runbook.md").read_text()
ENTRIES = RUNBOOK.split("\n## When an alert fires\n")[1].split("\n## ")[0]
BLOCKS = re.findall(r"```sql\n(.*?)```", ENTRIES, re.DOTALL)


def test_every_kind_of_cost_finding_has_an_entry():
    headings = set(re.findall(r"^### (.+)$", ENTRIES, re.MULTILINE))
    assert set(KINDS) == set(CostFinding.Kind.values)
    assert set(KINDS) <= headings


@pytest.mark.django_db
@pytest.mark.parametrize("statement", [part.strip() for block in BLOCKS for part in block.split(";") if part.strip()])
def test_what_an_entry_tells_to_run_runs(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)
        assert cursor.description is not None
