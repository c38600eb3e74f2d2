"""What agents may read, and that everything else looks like nothing."""

from __future__ import annotations

import pytest

from config.core.ids import uuid7
from files.models import UploadedFile
from files.parse_queue import claim, completed
from files.parsing.outcome import Parsed
from files.passages import PASSAGE_MAX_CHARS, split
from files.reading import beginnings, files_of, read_text, search_passages
from files.services import delete_files_of_user
from files.tasks import parse_uploads
from files.tests.makers import make_room, stored_keys, upload
from sessions_app import services
from sessions_app.tests.makers import make_person

pytestmark = pytest.mark.django_db
LONG = "".join(f"Line {number} of a long text, with ümlauts and 日本.\n" for number in range(500))


@pytest.fixture
def alice():
    return make_person("alice")


@pytest.fixture
def room(alice):
    return make_room(alice)


def parsed(person, room_id, text, name="a.txt"):
    file = UploadedFile.objects.get(id=upload(person, room_id, text.encode(), name).json()["id"])
    assert parse_uploads() == 1
    return file


def read(person, room_id, file, *, offset=0, limit=100, allowed=None):
    return read_text(
        user_id=person.id, room_id=room_id, file_id=file.id, offset=offset, limit=limit, allowed=allowed
    )  # fmt: skip


def search(person, room_id, query, *, limit=5, allowed=None):
    return search_passages(user_id=person.id, room_id=room_id, query=query, limit=limit, allowed=allowed)


@pytest.mark.parametrize("text", [LONG, "x" * 10_001, "a. " * 5_000, "\n\n".join(["p" * 700] * 20), "short"])
def test_passages_in_order_are_the_text(text):
    pieces = list(split(text))
    assert "".join(piece for _, piece in pieces) == text
    assert [start for start, _ in pieces] == [sum(len(p) for _, p in pieces[:n]) for n in range(len(pieces))]
    assert max(len(piece) for _, piece in pieces) <= PASSAGE_MAX_CHARS


def test_a_text_read_slice_by_slice_is_the_text(alice, room):
    file = parsed(alice, room, LONG)
    whole, offset = "", 0
    while offset is not None:
        slice_ = read(alice, room, file, offset=offset, limit=777)
        assert (slice_.offset, slice_.total, slice_.name) == (offset, len(LONG), "a.txt")
        whole, offset = whole + slice_.text, slice_.next_offset
    assert whole == LONG


@pytest.mark.parametrize(
    ("offset", "limit", "expected"),
    [
        (0, 5, (LONG[:5], 5)), (1_999, 3, (LONG[1_999:2_002], 2_002)), (len(LONG) - 2, 100, (LONG[-2:], None)),
        (len(LONG), 10, ("", None)), (2**53, 10, ("", None)), (-5, 5, (LONG[:5], 5)), (0, 0, ("", 0)),
        (0, 10**9, (LONG, None)),
    ],
)  # fmt: skip
def test_any_offset_and_limit_has_an_answer(alice, room, offset, limit, expected):
    found = read(alice, room, parsed(alice, room, LONG), offset=offset, limit=limit)
    assert (found.text, found.next_offset) == expected


def test_a_file_that_is_not_parsed_yet_has_no_text(alice, room):
    upload(alice, room, b"Hello")
    found = read(alice, room, UploadedFile.objects.get())
    assert (found.text, found.next_offset, found.total, found.parse_status) == ("", None, 0, "pending")


def test_what_is_not_ones_own_or_not_allowed_is_nothing(alice, room):
    bob = make_person("bob")
    file = parsed(alice, room, "The secret word is xylophone.")
    other_room = make_room(alice)
    assert read(alice, room, file).text == "The secret word is xylophone."
    assert read(alice, room, file, allowed=[file.id]) is not None
    for person, room_id, allowed in (
        (bob, room, None), (bob, make_room(bob), None), (alice, other_room, None), (alice, uuid7(), None),
        (alice, room, []), (alice, room, [uuid7()]),
    ):  # fmt: skip
        assert read(person, room_id, file, allowed=allowed) is None
        assert search(person, room_id, "xylophone", allowed=allowed) == []
        assert files_of(user_id=person.id, room_id=room_id, allowed=allowed) == []
    services.delete_room(services.room_of(user_id=alice.id, room_id=room))
    assert read(alice, room, file) is None
    assert search(alice, room, "xylophone") == []


def test_files_are_listed_oldest_first(alice, room):
    first, second = parsed(alice, room, "one", "a.txt"), parsed(alice, room, "# two", "b.md")
    listed = files_of(user_id=alice.id, room_id=room, allowed=None)
    assert [(f.id, f.name, f.kind, f.size_bytes, f.characters, f.parse_status) for f in listed] == [
        (first.id, "a.txt", "txt", 3, 3, "completed"), (second.id, "b.md", "md", 5, 5, "completed"),
    ]  # fmt: skip
    [only] = files_of(user_id=alice.id, room_id=room, allowed={second.id})
    assert only.id == second.id


def test_words_are_found_where_they_stand_best_first(alice, room):
    filler = "Nothing of interest here. " * 60 + "\n\n"
    text = filler + "The budget for Zürich is 40 thousand.\n\n" + filler + "Budget, budget: Zürich again.\n"
    file = parsed(alice, room, text, "plan.txt")
    found = search(alice, room, "zürich BUDGET")
    assert len(found) == 2
    assert all(passage.file_id == file.id and passage.name == "plan.txt" for passage in found)
    assert all(text[p.start_char : p.start_char + len(p.text)] == p.text for p in found)
    assert found[0].rank >= found[1].rank > 0
    assert [p.start_char for p in search(alice, room, '"budget for zürich"')] == [min(p.start_char for p in found)]
    assert len(search(alice, room, "zürich", limit=1)) == 1


def test_where_no_passage_has_all_words_those_with_any_are_found(alice, room):
    parsed(alice, room, "The cat sat.")
    assert [p.text for p in search(alice, room, "cat unicorn")] == ["The cat sat."]
    assert search(alice, room, "unicorn dragon") == []


@pytest.mark.parametrize(
    "query",
    ["", "   ", "\x00", "'", "\\", "& | !", "cat & | (", "a:*", "'; DROP TABLE users", "\ud800", "-cat", "x" * 5000],
)
def test_no_query_breaks_the_search(alice, room, query):
    parsed(alice, room, "The dog sat.")
    assert isinstance(search(alice, room, query), list)


def test_erasing_a_user_takes_all_files_of_all_rooms_and_no_others(alice, room):
    bob = make_person("bob")
    parsed(alice, room, "one")
    gone = make_room(alice)
    parsed(alice, gone, "two")
    services.delete_room(services.room_of(user_id=alice.id, room_id=gone))
    kept = parsed(bob, make_room(bob), "one")
    assert delete_files_of_user(alice.id) == 2
    assert list(UploadedFile.objects.all()) == [kept]
    assert stored_keys() == [kept.storage_key]
    assert delete_files_of_user(alice.id) == 0


def test_a_large_text_is_written_and_read(alice, room):
    upload(alice, room, b"x")
    text = "word " * 400_000
    assert completed(claim(), Parsed(text, True))
    file = UploadedFile.objects.get()
    assert (file.characters, file.is_truncated, file.passages.count()) == (2_000_000, True, 1000)
    assert read(alice, room, file, offset=1_999_990).text == text[-10:]


def test_files_begin_where_they_were_added_first_and_only_those_that_may_be_read(alice, room):
    bob = make_person("bob")
    for text in ("One begins.", "Two begins.", "Three begins."):
        parsed(alice, room, text)
    parsed(bob, make_room(bob), "Of bob.")
    ask = {"user_id": alice.id, "room_id": room, "limit": 2}
    assert [(p.start_char, p.text) for p in beginnings(**ask, allowed=None)] == [
        (0, "One begins."), (0, "Two begins."),
    ]  # fmt: skip
    last = UploadedFile.objects.filter(user_id=alice.id).latest("id")
    assert [p.text for p in beginnings(**ask, allowed=[last.id])] == ["Three begins."]
    assert beginnings(**{**ask, "user_id": bob.id}, allowed=None) == []
