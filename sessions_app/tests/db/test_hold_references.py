"""What billing is told of the work behind a hold: over is what has ended or does not exist, and nothing else."""

from __future__ import annotations

import pytest

from billing import references
from config.core.ids import uuid7
from sessions_app.models import Completion, Turn
from sessions_app.tests.makers import make_ended_turn, make_person, make_session

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("status", Turn.Status.values)
def test_a_turn_is_over_once_it_has_ended(status):
    alice = make_person("alice")
    turn = make_ended_turn(alice, make_session(alice, "writer"))
    active = status in ("queued", "running")
    Turn.objects.filter(pk=turn.pk).update(status=status, **({"finished_at": None} if active else {}))
    unknown = uuid7()
    expected = {unknown} if active else {unknown, turn.pk}
    asked = [("turn", turn.pk), ("turn", unknown)]
    assert references.over(asked) == {("turn", id_) for id_ in expected}


@pytest.mark.parametrize("status", Completion.Status.values)
def test_a_completion_is_over_once_it_has_ended(status):
    alice = make_person("alice")
    turn = make_ended_turn(alice, make_session(alice, "writer"))
    completion = Completion.objects.create(
        user_id=alice.id, model_alias="gpt-4o", status=status, pricing_version="2026-02-20", pricing_revision=1,
        claim=uuid7(), lease_expires_at=turn.created_at,
        finished_at=None if status == "running" else turn.finished_at,
    )  # fmt: skip
    expected = set() if status == "running" else {("completion", completion.pk)}
    assert references.over([("completion", completion.pk)]) == expected
