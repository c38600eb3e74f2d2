"""Activations, rollbacks, editors and beats at once: one wins, the others are told, one version is active."""

from __future__ import annotations

import threading
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import transaction
from django.utils import timezone

from config.core.tests.racing import at_once
from pricing import cache, drafting, lifecycle, services
from pricing.errors import AnotherIsActive, StaleRevision, VersionNotEditable
from pricing.models import ModelPricing, PricingRevision, PricingVersion
from pricing.tasks import activate_scheduled
from pricing.tests.makers import SEED, make_next, make_scheduled, run_sql, statuses

pytestmark = pytest.mark.django_db(transaction=True)


def activating(version: str, **fields):
    return lambda: lifecycle.activate(pricing_version=version, actor="alice", **fields)


def make_due(*versions: str) -> None:
    """Their time has come: a version cannot be scheduled for a time that is past."""
    for number, version in enumerate(versions):
        make_scheduled(version, effective_at=timezone.now() + timedelta(hours=1, seconds=number))
    run_sql("UPDATE pricing_versions SET effective_at = effective_at - interval '2 hours' WHERE status = 'scheduled'")


def test_of_two_drafts_activated_at_once_one_comes_into_force():
    names = ["one", "two", "three", "four"]
    for name in names:
        make_next(name)
    results = at_once(*[activating(name, replaces=SEED) for name in names])
    (winner,) = [result for result in results if isinstance(result, PricingVersion)]
    losers = [result for result in results if isinstance(result, AnotherIsActive)]
    assert len(losers) == 3
    assert {loser.members["pricing_version"] for loser in losers} == {winner.version}
    assert statuses() == {SEED: "retired", **dict.fromkeys(names, "draft"), winner.version: "active"}
    assert cache.latest().pricing_version == winner.version


def test_one_draft_activated_by_many_at_once_is_activated_once():
    make_next()
    results = at_once(*[activating("next") for _ in range(6)])
    assert {result.version for result in results} == {"next"}
    assert PricingRevision.objects.filter(pricing_version="next", action="status").count() == 1


def test_many_rollbacks_at_once_make_one_version():
    make_next()
    lifecycle.activate(pricing_version="next", actor="alice")
    results = at_once(
        *[lambda: lifecycle.roll_back(pricing_version=SEED, actor="bob", replaces="next") for _ in range(5)]
    )
    (made,) = [result for result in results if isinstance(result, PricingVersion)]
    assert [type(result) for result in results if result is not made] == [AnotherIsActive] * 4
    assert statuses() == {SEED: "retired", "next": "retired", made.version: "active"}


def test_rollbacks_and_activations_that_insist_on_nothing_never_leave_two_or_none():
    """Some are refused, because another was faster; none fails in another way."""
    for name in ("one", "two", "three"):
        make_next(name)
    lifecycle.activate(pricing_version="three", actor="alice")
    works = [activating("one"), activating("two")]
    works += [lambda: lifecycle.roll_back(pricing_version=SEED, actor="bob")] * 3
    results = at_once(*works)
    done = [result for result in results if isinstance(result, PricingVersion)]
    assert done
    assert {type(result) for result in results} <= {PricingVersion, AnotherIsActive}
    assert list(statuses().values()).count("active") == 1


def test_two_beats_at_once_activate_once():
    make_due("first", "second")
    results = at_once(*[activate_scheduled] * 4)
    assert sorted(results, key=str) == [None, None, None, "second"]
    assert statuses() == {SEED: "retired", "first": "retired", "second": "active"}
    assert PricingRevision.objects.filter(pricing_version="second", action="status").count() == 2


def test_the_beat_and_somebody_who_takes_it_back_at_once():
    make_due("next")
    beat, back = at_once(activate_scheduled, lambda: lifecycle.unschedule(pricing_version="next", actor="alice"))
    if beat is None:
        assert (back.status, statuses()) == ("draft", {SEED: "active", "next": "draft"})
    else:
        assert isinstance(back, VersionNotEditable)
        assert statuses() == {SEED: "retired", "next": "active"}


def test_an_edit_of_a_version_that_is_being_retired_waits_and_is_refused():
    make_next()
    locked, go_on = threading.Event(), threading.Event()

    def activate():
        with transaction.atomic():
            lifecycle.activate(pricing_version="next", actor="alice")
            locked.set()
            go_on.wait(10)

    def edit():
        locked.wait(10)
        threading.Timer(0.3, go_on.set).start()
        return services.set_multiplier(model_alias="gpt-4o", multiplier=Decimal(9), actor="bob", pricing_version=SEED)

    _, error = at_once(activate, edit)
    assert isinstance(error, VersionNotEditable)
    assert ModelPricing.objects.get(version__version=SEED, model_alias="gpt-4o").multiplier == 2


def test_an_activation_of_what_somebody_edits_meanwhile_is_told():
    """What was looked at is what comes into force, or nothing."""
    draft = make_next()
    locked, go_on = threading.Event(), threading.Event()

    def edit():
        with transaction.atomic():
            services.set_multiplier(model_alias="gpt-4o", multiplier=Decimal(9), actor="bob", pricing_version="next")
            locked.set()
            go_on.wait(10)

    def activate():
        locked.wait(10)
        threading.Timer(0.3, go_on.set).start()
        return activating("next", expected_revision=draft.revision)()

    _, error = at_once(edit, activate)
    assert isinstance(error, StaleRevision)
    assert statuses() == {SEED: "active", "next": "draft"}


def test_a_name_is_given_once():
    results = at_once(*[lambda: drafting.make_draft(version="next", actor="alice") for _ in range(5)])
    (made,) = [result for result in results if isinstance(result, PricingVersion)]
    assert {result.code for result in results if result is not made} == {"validation_error"}
    assert made.models.count() == 7


def test_a_copy_of_a_version_that_is_edited_meanwhile_is_of_one_moment():
    stop = threading.Event()

    def edit():
        for number in range(3, 23):
            with transaction.atomic():
                for alias in ("gpt-4o", "deepseek"):
                    services.set_multiplier(model_alias=alias, multiplier=Decimal(number), actor="bob")
        stop.set()

    def clone():
        made = []
        while not stop.is_set():
            made.append(drafting.make_draft(version=f"copy-{len(made)}", actor="alice"))
        return made

    _, made = at_once(edit, clone)
    pairs = [
        tuple(draft.models.filter(model_alias__in=["gpt-4o", "deepseek"]).values_list("multiplier", flat=True))
        for draft in made
    ]
    assert all(one == other or (one, other) == (Decimal("0.5"), Decimal(2)) for one, other in pairs)
    assert len(made) > 1
