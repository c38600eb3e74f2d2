"""Draft, scheduled, active, retired: what each step does, and that a step that is refused changes nothing."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.utils import timezone

from config.core.errors import NotFound, ValidationFailed
from pricing import cache, drafting, lifecycle, services
from pricing.errors import AnotherIsActive, StaleRevision, VersionNotEditable
from pricing.models import PricingRevision, PricingVersion
from pricing.tasks import activate_scheduled
from pricing.tests.makers import (
    SEED,
    SEED_REVISION,
    add_price,
    in_an_hour,
    make_draft,
    make_next,
    make_scheduled,
    price,
    retire,
    seeded,
    statuses,
    stored,
)

pytestmark = pytest.mark.django_db


def activate(version: str = "next", **fields):
    return lifecycle.activate(pricing_version=version, actor="alice", **fields)


def roll_back(version: str = SEED, **fields):
    return lifecycle.roll_back(pricing_version=version, actor="alice", **fields)


def prices_of(version: str) -> list[dict]:
    rows = PricingVersion.objects.get(version=version).models.order_by("model_alias")
    return [{n: v for n, v in row.items() if n not in ("id", "version_id", "updated_at")} for row in rows.values()]


def refused(error, call):
    before = stored()
    with pytest.raises(error) as raised:
        call()
    assert stored() == before
    return raised.value


def test_a_draft_is_a_copy_of_the_active_version_but_for_what_is_named():
    draft = drafting.make_draft(
        version="next", actor="alice", fields={"weight_output": Decimal("1.25"), "note": "dearer output"}
    )
    assert (draft.status, draft.weight_output, draft.weight_input_cached, draft.divisor, draft.note) == (
        "draft", Decimal("1.2500"), Decimal("0.1000"), Decimal(10_000), "dearer output",
    )  # fmt: skip
    assert prices_of("next") == prices_of(SEED)
    assert draft.revision == SEED_REVISION
    assert set(PricingRevision.objects.filter(pricing_version="next").values_list("actor", flat=True)) == {"alice"}
    assert statuses() == {SEED: "active", "next": "draft"}


def test_a_draft_is_cloned_from_any_version():
    old = make_draft("old", weight_output=Decimal(2))
    add_price(old, "gpt-3", multiplier=Decimal("0.2500"))
    retire(old)
    draft = drafting.make_draft(version="next", clone_from="old", actor="alice")
    assert draft.weight_output == 2
    assert prices_of("next") == prices_of("old")
    assert draft.activated_at is draft.effective_at is draft.retired_at is None


@pytest.mark.parametrize("version", [SEED, "", "a b", "a/b", "a" * 65, "x\n"])
def test_a_draft_with_a_bad_name_is_refused(version):
    error = refused(ValidationFailed, lambda: drafting.make_draft(version=version, actor="alice"))
    assert error.members["errors"][0]["field"] == "version"


def test_a_draft_is_changed_and_each_change_recorded():
    make_next()
    changed = drafting.change_draft(
        pricing_version="next", fields={"divisor": Decimal(5_000), "note": "cheap"}, actor="bob", expected_revision=9
    )
    assert (changed.divisor, changed.note, changed.revision) == (5_000, "cheap", 10)
    recorded = PricingRevision.objects.get(pricing_version="next", revision=10)
    assert recorded.actor == "bob"
    assert recorded.changes == {
        "divisor": {"old": "10000.0000", "new": "5000.0000"}, "note": {"old": "", "new": "cheap"},
    }  # fmt: skip
    again = drafting.change_draft(pricing_version="next", fields={"note": "cheap"}, actor="bob")
    assert again.revision == 10


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("divisor", Decimal(0)),
        ("divisor", Decimal("NaN")),
        ("weight_output", Decimal(-1)),
        ("weight_output", Decimal("0.00001")),
        ("weight_output", Decimal("1e400")),
        ("status", "active"),
    ],
)
def test_a_bad_change_of_a_draft_is_refused(field, value):
    make_next()
    error = refused(
        ValidationFailed,
        lambda: drafting.change_draft(pricing_version="next", fields={field: value}, actor="bob"),
    )
    assert error.members["errors"][0]["field"] == field


@pytest.mark.parametrize("status", ["scheduled", "active", "retired"])
def test_only_drafts_are_changed(status):
    make_scheduled()
    if status != "scheduled":
        activate()
    if status == "retired":
        roll_back()
    refused(
        VersionNotEditable,
        lambda: drafting.change_draft(pricing_version="next", fields={"divisor": Decimal(1)}, actor="bob"),
    )


def test_a_draft_is_scheduled_moved_and_taken_back():
    make_next()
    first, later = in_an_hour(), in_an_hour() + timedelta(days=1)
    scheduled = lifecycle.schedule(pricing_version="next", effective_at=first, actor="alice")
    assert (scheduled.status, scheduled.effective_at, scheduled.revision) == ("scheduled", first, 10)
    assert lifecycle.schedule(pricing_version="next", effective_at=first, actor="alice").revision == 10
    moved = lifecycle.schedule(pricing_version="next", effective_at=later, actor="alice", expected_revision=10)
    assert (moved.status, moved.effective_at, moved.revision) == ("scheduled", later, 11)
    draft = lifecycle.unschedule(pricing_version="next", actor="bob")
    assert (draft.status, draft.effective_at, draft.revision) == ("draft", later, 12)
    assert lifecycle.unschedule(pricing_version="next", actor="bob").revision == 12
    assert lifecycle.schedule(pricing_version="next", actor="alice").effective_at == later


def test_a_scheduled_version_cannot_be_edited():
    make_scheduled()
    refused(
        VersionNotEditable,
        lambda: services.set_multiplier(
            model_alias="gpt-4o", multiplier=Decimal(4), actor="bob", pricing_version="next"
        ),
    )


def test_a_version_is_not_scheduled_for_the_past_or_for_no_time_or_without_prices():
    make_next()
    past = timezone.now() - timedelta(seconds=1)
    error = refused(
        ValidationFailed, lambda: lifecycle.schedule(pricing_version="next", effective_at=past, actor="alice")
    )
    assert error.members["errors"][0]["code"] == "not_in_future"
    error = refused(ValidationFailed, lambda: lifecycle.schedule(pricing_version="next", actor="alice"))
    assert error.members["errors"][0]["code"] == "required"
    make_draft("empty")
    for call in (
        lambda: lifecycle.schedule(pricing_version="empty", effective_at=in_an_hour(), actor="alice"),
        lambda: activate("empty"),
    ):
        assert refused(ValidationFailed, call).members["errors"][0]["code"] == "no_prices"


def test_activation_retires_the_old_one_and_brings_the_new_one_into_force():
    make_next()
    activated = activate(expected_revision=9, replaces=SEED)
    assert statuses() == {SEED: "retired", "next": "active"}
    assert (activated.revision, seeded().revision) == (10, SEED_REVISION + 1)
    assert activated.activated_at == activated.effective_at == seeded().retired_at
    steps = PricingRevision.objects.filter(action="status").order_by("pricing_version")
    assert [(row.pricing_version, row.actor, row.changes["status"]) for row in steps] == [
        (SEED, "alice", {"old": "active", "new": "retired"}),
        ("next", "alice", {"old": "draft", "new": "active"}),
    ]
    assert cache.latest().find("gpt-4o").multiplier == 3


def test_activating_the_active_version_again_changes_nothing():
    make_next()
    activate()
    before = stored()
    assert activate(replaces=SEED).version == "next"
    assert stored() == before


def test_a_scheduled_version_is_activated_early_and_says_so():
    planned = make_scheduled().effective_at
    activated = activate()
    assert activated.status == "active"
    assert activated.effective_at == activated.activated_at < planned


def test_what_somebody_else_has_done_meanwhile_refuses_an_activation():
    make_next()
    make_next("other")
    assert refused(StaleRevision, lambda: activate(expected_revision=8)).members["revision"] == 9
    activate("other")
    error = refused(AnotherIsActive, lambda: activate(replaces=SEED))
    assert (error.code, error.status, error.members["pricing_version"]) == ("stale_revision", 409, "other")


def test_a_retired_version_is_not_activated_again():
    make_next()
    activate()
    refused(VersionNotEditable, lambda: activate(SEED))
    refused(VersionNotEditable, lambda: lifecycle.unschedule(pricing_version=SEED, actor="alice"))
    refused(NotFound, lambda: activate("unknown"))


def test_a_rollback_is_a_new_version_with_the_old_prices():
    make_next(weight_output=Decimal("1.5"), note="cheaper")
    activate()
    services.set_multiplier(model_alias="gpt-4o", multiplier=Decimal(5), actor="bob")
    made = roll_back()
    assert statuses() == {SEED: "retired", "next": "retired", f"{SEED}-rollback-1": "active"}
    assert (made.version, made.weight_output, made.note) == (
        f"{SEED}-rollback-1", 1, f"Rolled back to {SEED} from next.",
    )  # fmt: skip
    assert prices_of(made.version) == prices_of(SEED)
    forth = roll_back("next")
    assert (forth.version, forth.weight_output) == ("next-rollback-1", Decimal("1.5"))
    assert price("gpt-4o", forth.version).multiplier == 5
    assert roll_back(made.version).version == f"{SEED}-rollback-2"


def test_a_rollback_takes_a_name_and_a_note():
    make_next()
    activate()
    made = roll_back(name="calm", note="too dear", replaces="next")
    assert (made.version, made.note, made.status) == ("calm", "too dear", "active")


def test_a_rollback_sent_twice_is_done_once():
    make_next()
    activate()
    roll_back(replaces="next")
    refused(AnotherIsActive, lambda: roll_back(replaces="next"))


def test_a_rollback_needs_a_version_that_was_in_force():
    make_scheduled()
    retire(make_draft("never"))
    for version in (SEED, "next", "never"):
        refused(VersionNotEditable, lambda version=version: roll_back(version))
    refused(NotFound, lambda: roll_back("unknown"))
    activate()
    refused(ValidationFailed, lambda: roll_back(name="never"))


def test_a_long_name_leaves_room_for_the_number_of_its_rollback():
    assert lifecycle.rollback_name("a" * 64) == "a" * 53 + "-rollback-1"


def test_the_beat_activates_what_is_due_and_nothing_else():
    planned = make_scheduled().effective_at
    before = stored()
    assert activate_scheduled() is None
    assert stored() == before
    with time_machine.travel(planned):
        assert activate_scheduled() == "next"
        assert activate_scheduled() is None
    assert statuses() == {SEED: "retired", "next": "active"}
    activated = PricingVersion.objects.get(version="next")
    assert activated.effective_at == planned
    recorded = PricingRevision.objects.get(pricing_version="next", revision=activated.revision)
    assert (recorded.actor, recorded.action) == ("schedule", "status")


def test_of_several_that_are_due_the_latest_comes_into_force_and_the_others_retire():
    planned = make_scheduled("first").effective_at
    make_scheduled("second", effective_at=planned + timedelta(minutes=1))
    make_scheduled("third", effective_at=planned + timedelta(days=1))
    with time_machine.travel(planned + timedelta(hours=1)):
        assert activate_scheduled() == "second"
    assert statuses() == {SEED: "retired", "first": "retired", "second": "active", "third": "scheduled"}
    assert PricingVersion.objects.get(version="first").activated_at is None


def test_what_was_due_before_a_version_is_activated_by_hand_does_not_replace_it_later():
    planned = make_scheduled("planned").effective_at
    make_next()
    with time_machine.travel(planned + timedelta(seconds=1)):
        activate()
        assert activate_scheduled() is None
    assert statuses() == {SEED: "retired", "planned": "retired", "next": "active"}


def test_an_alias_is_removed_from_a_draft_only():
    make_next()
    services.remove_model(pricing_version="next", model_alias="deepseek", actor="alice")
    assert "deepseek" not in {row["model_alias"] for row in prices_of("next")}
    refused(
        VersionNotEditable,
        lambda: services.remove_model(pricing_version=SEED, model_alias="deepseek", actor="alice"),
    )
    services.put_model(
        pricing_version="next", model_alias="gpt-4o", fields={"fallback_alias": "gpt-4o-mini"}, actor="alice"
    )
    refused(
        ValidationFailed,
        lambda: services.remove_model(pricing_version="next", model_alias="gpt-4o-mini", actor="alice"),
    )
