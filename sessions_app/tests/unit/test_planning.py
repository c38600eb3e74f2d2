"""Who speaks in a turn."""

from __future__ import annotations

import pytest

from config.core.ids import uuid7
from sessions_app.errors import NoRoomAgents, NoValidTaggedAgents
from sessions_app.turns.planning import Speaker, Warning, plan_turn


def speakers(*keys):
    return [Speaker(uuid7(), key, key.title(), "", "gpt-4o") for key in keys]


def keys(plan):
    return [speaker.agent_key for speaker in plan.speakers]


@pytest.mark.parametrize("mode", ["roundtable", "standalone"])
def test_all_speak_in_their_order(mode):
    assert keys(plan_turn(mode=mode, agents=speakers("b", "a"), message="@a?")) == ["b", "a"]


@pytest.mark.parametrize("mode", ["manual", "roundtable", "standalone"])
def test_a_room_without_agents_is_refused(mode):
    with pytest.raises(NoRoomAgents):
        plan_turn(mode=mode, agents=[], message="@a")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("@ann?", ["ann"]),
        ("(@ben), @ann!", ["ben", "ann"]),
        ("@ANN @Ann @ann", ["ann"]),
        ("@ann_lee", ["ann_lee"]),
        ("hey\n@ben", ["ben"]),
        ("„@ann“", ["ann"]),
    ],
)
def test_tagged_agents_speak_in_the_order_of_first_mention(message, expected):
    plan = plan_turn(mode="manual", agents=speakers("ann", "ben", "ann_lee"), message=message)
    assert (keys(plan), plan.warnings) == (expected, ())


@pytest.mark.parametrize("message", ["ann", "mail x@ann.org", "@@ann", "@", "@ ann", "@anna", ""])
def test_what_is_no_tag_of_anybody_is_refused(message):
    with pytest.raises(NoValidTaggedAgents) as refused:
        plan_turn(mode="manual", agents=speakers("ann", "ben"), message=message)
    assert refused.value.members["agent_keys"] == ["ann", "ben"]


def test_unknown_tags_are_named_once_each():
    plan = plan_turn(mode="manual", agents=speakers("ann"), message="@zoe @ann @ZOE @yan")
    assert plan.warnings == (Warning("unknown_agent_tags", "No agent of this room is called @zoe, @yan."),)


def test_a_thousand_unknown_tags_make_a_short_answer():
    message = " ".join(f"@{'x' * 500}{n}" for n in range(1_000))
    with pytest.raises(NoValidTaggedAgents) as refused:
        plan_turn(mode="manual", agents=speakers("ann"), message=message)
    assert len(refused.value.detail) < 2_000
