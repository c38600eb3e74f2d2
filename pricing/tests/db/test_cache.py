"""The snapshot that this process serves: fresh, whole, and never one that was rolled back."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from decimal import Decimal

import pytest
from django.db import connection, transaction

from pricing import cache, services
from pricing.errors import NoActiveVersion
from pricing.history import UnknownPriceRevision
from pricing.models import ModelPricing
from pricing.tests.makers import SEED, SEED_REVISION, add_price, make_draft, price, run_sql, set_by_sql

pytestmark = pytest.mark.django_db(transaction=True)


class Undo(Exception):
    pass


def served(model_alias: str = "gpt-4o") -> Decimal:
    found = cache.current().find(model_alias)
    assert found is not None
    return found.multiplier


def set_multiplier(multiplier: str, model_alias: str = "gpt-4o") -> None:
    services.set_multiplier(model_alias=model_alias, multiplier=Decimal(multiplier), actor="test")


def test_a_fresh_snapshot_costs_no_query(settings, django_assert_num_queries):
    settings.PRICING_REFRESH_S = 60
    book = cache.reload_pricing_cache()
    with django_assert_num_queries(0):
        assert cache.current() is book
        assert cache.matching(SEED, SEED_REVISION) is book
        assert cache.get_model_multiplier("gpt-4o") == 2
    assert 0 <= cache.snapshot_age_s() < 60


def test_an_edit_that_nobody_was_told_of_is_served_within_the_bound(settings, django_assert_num_queries):
    settings.PRICING_REFRESH_S = 0.3
    book = cache.reload_pricing_cache()
    set_by_sql("gpt-4o", "2.5")
    deadline = time.monotonic() + 3
    while served() == 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert served() == Decimal("2.5")
    assert (cache.current().revision, book.revision) == (SEED_REVISION + 1, SEED_REVISION)
    time.sleep(0.35)
    with django_assert_num_queries(1):
        # Due, and unchanged: one small query, and the book is the same.
        assert cache.current() is cache.current()


def test_a_service_edit_is_served_at_once_and_without_a_query(settings, django_assert_num_queries):
    settings.PRICING_REFRESH_S = 60
    cache.reload_pricing_cache()
    set_multiplier("2.5")
    with django_assert_num_queries(0):
        assert served() == Decimal("2.5")
        assert cache.get_model_multiplier("gpt-4o") == Decimal("2.5")


def test_a_saved_or_deleted_row_is_served_at_once(settings):
    settings.PRICING_REFRESH_S = 60
    cache.reload_pricing_cache()
    row = price()
    row.multiplier = Decimal("2.5")
    row.save()
    assert served() == Decimal("2.5")
    row.delete()
    assert cache.current().find("gpt-4o") is None


def test_matching_serves_exactly_the_pair_that_was_read(settings):
    settings.PRICING_REFRESH_S = 60
    old = cache.reload_pricing_cache()
    set_by_sql("gpt-4o", "2.5")
    new = cache.matching(SEED, SEED_REVISION + 1)
    assert new.models["gpt-4o"].multiplier == Decimal("2.5")
    assert cache.current() is new
    again = cache.matching(SEED, SEED_REVISION)
    assert again == old
    assert cache.current() is new
    with pytest.raises(UnknownPriceRevision):
        cache.matching(SEED, SEED_REVISION + 2)
    with pytest.raises(UnknownPriceRevision):
        cache.matching("other", 1)


def test_matching_follows_the_activation_of_another_version(settings):
    settings.PRICING_REFRESH_S = 60
    cache.reload_pricing_cache()
    add_price(make_draft())
    with transaction.atomic():
        run_sql("UPDATE pricing_versions SET status = 'retired' WHERE status = 'active'")
        run_sql("UPDATE pricing_versions SET status = 'active' WHERE version = 'next'")
    assert served() == 2
    assert cache.matching("next", 3).models["gpt-4o"].multiplier == 3
    assert served() == 3


def test_a_rolled_back_edit_is_not_served(settings):
    settings.PRICING_REFRESH_S = 60
    book = cache.reload_pricing_cache()
    with suppress(Undo), transaction.atomic():
        set_multiplier("2.5")
        assert cache.current() is book
        raise Undo
    assert cache.current() is book
    assert price().multiplier == 2


def test_an_edit_that_was_looked_at_before_its_rollback_leaves_nothing_behind(settings):
    """After the rollback another edit gets the same revision number, and must not be taken for the first."""
    settings.PRICING_REFRESH_S = 60
    cache.reload_pricing_cache()
    with suppress(Undo), transaction.atomic():
        set_by_sql("gpt-4o", "2.5")
        assert cache.matching(SEED, SEED_REVISION + 1).models["gpt-4o"].multiplier == Decimal("2.5")
        assert cache.reload_pricing_cache().models["gpt-4o"].multiplier == Decimal("2.5")
        raise Undo
    assert served() == 2
    with suppress(Undo), transaction.atomic():
        set_by_sql("gpt-4o", "2.5")
        cache.reload_pricing_cache()
        raise Undo
    set_by_sql("gpt-4o", "7")
    assert cache.matching(SEED, SEED_REVISION + 1).models["gpt-4o"].multiplier == 7
    assert served() == 7


def test_uncommitted_prices_do_not_reach_other_threads(settings):
    settings.PRICING_REFRESH_S = 60
    cache.reload_pricing_cache()
    seen = []

    def other() -> None:
        seen.append(served())
        connection.close()

    with transaction.atomic():
        set_by_sql("gpt-4o", "2.5")
        cache.reload_pricing_cache()
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert seen == [2]
    # And once they are committed, they do, without another reload.
    assert cache.latest().models["gpt-4o"].multiplier == Decimal("2.5")


@pytest.mark.django_db
def test_on_commit_does_it(settings, django_capture_on_commit_callbacks):
    settings.PRICING_REFRESH_S = 60
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        ModelPricing.objects.get(model_alias="gpt-4o").save()
        row = price()
        row.multiplier = Decimal("2.5")
        row.save()
    assert len(callbacks) == 2
    assert cache.get_model_multiplier("gpt-4o") == Decimal("2.5")


@pytest.mark.parametrize("alias", ["unknown", "gpt", "gpt-4o ", "GPT-4O", ""])
def test_an_unknown_alias_counts_once_outside_the_turn_path(alias):
    assert str(cache.get_model_multiplier(alias)) == "1.0"


@pytest.mark.breaks_the_ledger
def test_without_an_active_version_nothing_is_served(settings):
    settings.PRICING_REFRESH_S = 0.1
    cache.reload_pricing_cache()
    run_sql("SET session_replication_role = replica")
    run_sql("UPDATE pricing_versions SET status = 'retired'")
    run_sql("SET session_replication_role = origin")
    time.sleep(0.15)
    for read in (cache.current, cache.latest, cache.reload_pricing_cache):
        with pytest.raises(NoActiveVersion):
            read()


def test_a_slow_load_does_not_replace_a_newer_one(settings, monkeypatch):
    """A thread that read the old prices before an edit, and gets to swap them in only after it."""
    settings.PRICING_REFRESH_S = 60
    cache.reload_pricing_cache()
    build, held, go_on = cache.book_of, threading.Event(), threading.Event()

    def slowly(snapshot):
        if threading.current_thread().name == "slow":
            held.set()
            go_on.wait(10)
        return build(snapshot)

    def load() -> None:
        cache.reload_pricing_cache()
        connection.close()

    monkeypatch.setattr(cache, "book_of", slowly)
    slow = threading.Thread(target=load, name="slow")
    slow.start()
    assert held.wait(10)
    set_multiplier("2.5")
    go_on.set()
    slow.join()
    assert served() == Decimal("2.5")
