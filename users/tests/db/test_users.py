from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from users.models import User
from users.tests.makers import PASSWORD, make_user

pytestmark = pytest.mark.django_db


def test_an_address_is_kept_as_given_and_found_in_any_case() -> None:
    alice = make_user("Alice@Example.com")
    assert User.objects.get(pk=alice.pk).email == "Alice@Example.com"
    assert User.objects.get_by_natural_key("aLICE@eXAMPLE.com") == alice
    assert list(User.objects.with_address("alice@example.com")) == [alice]
    assert not User.objects.with_address("bob@example.com").exists()


def test_the_database_refuses_the_same_address_in_another_case() -> None:
    make_user("alice@example.com")
    with pytest.raises(IntegrityError, match="user_email_once_in_any_case"), transaction.atomic():
        make_user("ALICE@example.com")


def test_finding_an_address_uses_the_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        sql, params = User.objects.with_address("alice@example.com").query.sql_with_params()
        cursor.execute(f"EXPLAIN {sql}", params)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "user_email_once_in_any_case" in plan


def test_ids_are_uuid7_and_sort_by_time() -> None:
    alice, bob = make_user("alice@example.com"), make_user("bob@example.com")
    assert (alice.pk.version, bob.pk.version) == (7, 7)
    assert alice.pk < bob.pk
    assert list(User.objects.order_by("id")) == [alice, bob]


def test_a_user_without_a_password_cannot_log_in_with_one() -> None:
    alice = make_user()
    assert not alice.has_usable_password()
    assert not alice.check_password("")


def test_a_user_needs_an_address() -> None:
    with pytest.raises(ValueError, match="needs an e-mail"):
        make_user("")


def test_an_account_is_shown_by_its_name_or_else_its_address() -> None:
    assert make_user().get_full_name() == "alice@example.com"
    assert make_user("bob@example.com", display_name="Bob").get_short_name() == "Bob"


def test_createsuperuser_needs_nothing_but_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
    call_command("createsuperuser", "--noinput", "--email", "Root@example.com", verbosity=0)
    root = User.objects.get_by_natural_key("root@example.com")
    assert (root.is_staff, root.is_superuser, root.is_active, root.check_password(PASSWORD)) == (True, True, True, True)


def test_createsuperuser_refuses_an_address_that_is_taken_in_another_case() -> None:
    make_user("root@example.com")
    with pytest.raises(CommandError, match="already taken"):
        call_command("createsuperuser", "--noinput", "--email", "ROOT@example.com", verbosity=0)
    assert User.objects.count() == 1
