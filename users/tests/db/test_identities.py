from __future__ import annotations

import pytest

from users.identities import user_of
from users.models import ExternalIdentity, User
from users.outside_tokens import OutsideToken
from users.tests.makers import make_user

pytestmark = pytest.mark.django_db
ALICE = OutsideToken("https://id.example.com", "alice-at-idp", "alice@example.com")


def test_the_first_token_makes_user_and_identity_and_the_next_finds_them() -> None:
    made = user_of(ALICE)
    assert user_of(ALICE) == made
    assert (made.email, made.is_active, made.is_staff, made.is_superuser) == ("alice@example.com", True, False, False)
    assert not made.has_usable_password()
    identity = ExternalIdentity.objects.get()
    assert (identity.user, identity.issuer, identity.subject) == (made, ALICE.issuer, ALICE.subject)


def test_finding_a_known_identity_is_one_query(django_assert_num_queries: object) -> None:
    user_of(ALICE)
    with django_assert_num_queries(1):  # type: ignore[operator]
        user_of(ALICE)


def test_without_an_address_the_user_has_a_placeholder() -> None:
    made = user_of(OutsideToken("", "s", None))
    assert made.email == f"{made.pk}@identity.invalid"


@pytest.mark.parametrize("taken", ["alice@example.com", "ALICE@EXAMPLE.COM"])
def test_an_equal_address_links_nothing(taken: str) -> None:
    local = make_user(taken)
    made = user_of(ALICE)
    assert made != local
    assert made.email == f"{made.pk}@identity.invalid"
    assert not local.identities.exists()
    assert User.objects.count() == 2


def test_the_same_subject_of_another_issuer_is_another_person() -> None:
    other = user_of(OutsideToken("https://other.example.com", ALICE.subject, None))
    assert user_of(ALICE) != other


def test_a_later_token_with_another_address_changes_nothing() -> None:
    made = user_of(ALICE)
    assert user_of(OutsideToken(ALICE.issuer, ALICE.subject, "mallory@example.com")) == made
    assert list(User.objects.values_list("email", flat=True)) == ["alice@example.com"]
