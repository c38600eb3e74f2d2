"""Taking a conversation away: exact files, for its owner only, whole whatever its length."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import AsyncClient
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from billing.tests.makers import make_call, make_hold, settle
from config.core.ids import uuid7
from pricing.rating import TokenPools
from sessions_app import exporting, services
from sessions_app.models import Message, Room, Session, Turn
from sessions_app.tests.makers import Person, make_ended_turn, make_person, make_session, make_standalone_session

# The turns are read in threads with connections of their own.
pytestmark = pytest.mark.django_db(transaction=True)
API = "/api/v1"


@pytest.fixture
def alice() -> Person:
    return make_person("alice")


def get(person: Person, session_id: Any, query: str = "", **headers: str) -> tuple[Any, bytes]:
    async def read() -> tuple[Any, bytes]:
        client = AsyncClient(raise_request_exception=False)
        path = f"{API}/sessions/{session_id}/export{query}"
        response: Any = await client.get(path, headers={"Authorization": f"Bearer {person.token}", **headers})
        if not response.streaming:
            return response, response.content
        return response, b"".join([piece async for piece in response.streaming_content])

    return async_to_sync(read)()


def exported(person: Person, session_id: Any) -> dict[str, Any]:
    response, body = get(person, session_id)
    assert response.status_code == 200
    shown: dict[str, Any] = json.loads(body)
    return shown


def markdown(person: Person, session_id: Any) -> str:
    response, body = get(person, session_id, "?format=md")
    assert response.status_code == 200
    return body.decode()


def add_turn(person: Person, session_id: Any, text: str = "Hi", answer: str = "Hello.", **fields: Any) -> Turn:
    """A stored turn with one answer, billed with 0.01 credits."""
    session = Session.objects.select_related("room").get(pk=session_id)
    billed = make_hold(person.id, "0", enforcement="off")
    settle(person.id, billed, make_call(TokenPools(output=100), turn_id=billed.id))
    turn = make_ended_turn(person, session_id, id=billed.id, user_input=text, **fields)
    Message.objects.create(session=session, turn=turn, role="user", content=text)
    if answer:
        Message.objects.create(
            session=session, turn=turn, role="assistant", agent_key="ann", agent_name="Ann", content=answer
        )
    return turn


def test_a_conversation_as_json(alice: Person) -> None:
    session_id = make_session(alice, "ann")
    Session.objects.filter(pk=session_id).update(title="Plans")
    Room.objects.update(goal="Find out.")
    first, second = add_turn(alice, session_id), add_turn(alice, session_id, "More?", "No.")
    response, body = get(alice, session_id)
    assert response.headers["Content-Type"] == "application/json"
    session = Session.objects.get(pk=session_id)
    assert response.headers["Content-Disposition"] == (
        f'attachment; filename="plans-{session.created_at:%Y-%m-%d}.json"'
    )
    shown = json.loads(body)
    assert list(shown) == ["session", "turns", "totals"]
    assert shown["session"] == {
        "id": str(session_id),
        "room_id": str(session.room_id),
        "agent_id": None,
        "title": "Plans",
        "created_at": session.created_at.isoformat().replace("+00:00", "Z"),
        "room": {"id": str(session.room_id), "name": "Room", "mode": "roundtable", "goal": "Find out."},
        "agent": None,
    }
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {alice.token}")
    assert shown["turns"] == [client.get(f"{API}/turns/{turn.id}").json() for turn in (first, second)]
    assert [turn["turn_index"] for turn in shown["turns"]] == [1, 2]
    assert shown["totals"] == {
        "turns": 2, "llm_calls": 2, "credits_burned": "0.0200", "credits_charged": "0.02000000",
    }  # fmt: skip


def test_a_conversation_as_markdown(alice: Person) -> None:
    session_id = make_session(alice, "ann")
    Session.objects.filter(pk=session_id).update(title="Plans *today*")
    turn = add_turn(alice, session_id, "Hi\n# there", "Hello.")
    response, body = get(alice, session_id, "?format=md")
    session = Session.objects.get(pk=session_id)
    assert response.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert response.headers["Content-Disposition"] == (
        f'attachment; filename="plans-today-{session.created_at:%Y-%m-%d}.md"'
    )
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    utc = [moment.isoformat().replace("+00:00", "Z") for moment in (session.created_at, turn.created_at)]
    assert body.decode() == (
        "# Plans \\*today\\*\n\n"
        f"- Session: `{session_id}`\n- Started: {utc[0]}\n- Room: Room, roundtable\n\n"
        f"## Turn 1, {utc[1]}\n\n"
        "Status: completed\n\n"
        "### User\n\n> Hi\n> # there\n\n"
        "### Ann (@ann)\n\n> Hello.\n\n"
        "Credits burned: 0.0100, charged: 0.01000000. Model calls: 1\n\n"
        "## Total\n\n"
        "Turns: 1. Credits burned: 0.0100, charged: 0.01000000. Model calls: 1\n\n"
    )


def test_an_empty_session_is_exported_too(alice: Person) -> None:
    session_id = make_session(alice, "ann")
    shown = exported(alice, session_id)
    assert (shown["turns"], shown["session"]["title"]) == ([], "")
    assert shown["totals"] == {
        "turns": 0, "llm_calls": 0, "credits_burned": "0.0000", "credits_charged": "0.00000000",
    }  # fmt: skip
    assert markdown(alice, session_id).startswith("# Untitled session\n")
    response, _ = get(alice, session_id)
    assert 'filename="session-20' in response.headers["Content-Disposition"]


def test_a_session_with_one_agent_shows_the_agent_and_no_room(alice: Person) -> None:
    session_id = make_standalone_session(alice)
    shown = exported(alice, session_id)["session"]
    assert (shown["room"], shown["room_id"]) == (None, None)
    assert shown["agent"] == {"id": shown["agent_id"], "agent_key": "solo", "name": "Solo"}
    assert "- Agent: Solo (@solo)\n" in markdown(alice, session_id)


def test_a_turn_that_runs_and_one_that_failed_say_so(alice: Person) -> None:
    session_id = make_session(alice, "ann")
    add_turn(alice, session_id, answer="", status="failed", error_code="provider_error", error_detail="It broke.")
    add_turn(alice, session_id, answer="", status="running", finished_at=None)
    shown = exported(alice, session_id)["turns"]
    assert [(turn["status"], turn["error"], turn["finished_at"] is None) for turn in shown] == [
        ("failed", {"code": "provider_error", "detail": "It broke."}, False),
        ("running", None, True),
    ]
    page = markdown(alice, session_id)
    assert "Status: failed (`provider_error`)\n" in page
    assert "Status: running\n" in page
    Turn.objects.filter(status="running").update(status="cancelled", finished_at=timezone.now())


def test_a_turn_that_was_made_anew_and_the_one_in_its_place_are_both_there_and_say_so(alice: Person) -> None:
    session_id = make_session(alice, "ann")
    first = add_turn(alice, session_id)
    second = add_turn(alice, session_id, answer="Hello again.", regenerates=first)
    shown = exported(alice, session_id)["turns"]
    assert [(turn["regenerates"], turn["regenerated_by"]) for turn in shown] == [
        (None, str(second.id)),
        (str(first.id), None),
    ]
    page = markdown(alice, session_id)
    assert f"Status: completed. Regenerated by: `{second.id}`\n" in page
    assert f"Status: completed. Regenerates: `{first.id}`\n" in page


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7])
def test_every_turn_comes_once_and_in_order_in_pieces(
    alice: Person, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "BATCH_TURNS", 3)
    session_id, other = make_session(alice, "ann"), make_session(alice, "ben")
    add_turn(alice, other, "elsewhere")
    for number in range(count):
        add_turn(alice, session_id, f"turn {number}")
    shown = exported(alice, session_id)
    assert [turn["user_input"] for turn in shown["turns"]] == [f"turn {number}" for number in range(count)]
    assert shown["totals"]["credits_charged"] == str(Decimal("0.01") * count + Decimal("0.00000000"))
    page = markdown(alice, session_id)
    assert [line for line in page.split("\n") if line.startswith("> turn")] == [f"> turn {n}" for n in range(count)]


def test_a_piece_takes_as_many_statements_for_one_turn_as_for_twenty(alice: Person) -> None:
    counts = []
    for turns in (1, exporting.BATCH_TURNS):
        session_id = make_session(alice, "ann")
        for _ in range(turns):
            add_turn(alice, session_id)
        with CaptureQueriesContext(connection) as statements:
            exporting._batch(session_id, 0, exporting.JSON, exporting.Totals())
        counts.append(len(statements))
    assert counts[0] == counts[1]


def test_what_is_said_comes_back_word_for_word(alice: Person) -> None:
    text = 'a "b" \\ </script>\u2028\u2029\x85 €😀\r\n\t# c'
    session_id = make_session(alice, "ann")
    add_turn(alice, session_id, text, text)
    (turn,) = exported(alice, session_id)["turns"]
    assert [turn["user_input"], *[message["content"] for message in turn["messages"]]] == [text] * 3


@pytest.mark.parametrize(
    ("query", "accept", "kind"),
    [
        ("", "*/*", "application/json"),
        ("", "application/json", "application/json"),
        ("", "text/markdown", "text/markdown; charset=utf-8"),
        ("", "text/markdown, */*;q=0.1", "text/markdown; charset=utf-8"),
        ("?format=json", "*/*", "application/json"),
        ("?format=md", "*/*", "text/markdown; charset=utf-8"),
    ],
)
def test_the_form_is_chosen_by_query_or_by_accept(alice: Person, query: str, accept: str, kind: str) -> None:
    response, _ = get(alice, make_session(alice, "ann"), query, Accept=accept)
    assert (response.status_code, response.headers["Content-Type"]) == (200, kind)
    assert "Accept" in response.headers["Vary"]


@pytest.mark.parametrize(("query", "accept"), [("?format=pdf", "*/*"), ("", "text/html"), ("?format=md", "text/csv")])
def test_another_form_is_406(alice: Person, query: str, accept: str) -> None:
    response, body = get(alice, make_session(alice, "ann"), query, Accept=accept)
    assert (response.status_code, json.loads(body)["code"]) == (406, "not_acceptable")
    assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("", 'filename="session-DAY.md"'),
        ("../../etc/passwd", 'filename="etcpasswd-DAY.md"'),
        ('a"; filename="b.exe', 'filename="a-filenamebexe-DAY.md"'),
        ("a\r\nSet-Cookie: b=c", 'filename="a-set-cookie-bc-DAY.md"'),
        ("CON", 'filename="con-DAY.md"'),
        ("-- .htaccess", 'filename="htaccess-DAY.md"'),
        ("***", 'filename="session-DAY.md"'),
        ("x" * 200, f'filename="{"x" * 50}-DAY.md"'),
        ("Zoë", "filename=\"zoe-DAY.md\"; filename*=UTF-8''zo%C3%AB-DAY.md"),
        ("日本 1", "filename=\"1-DAY.md\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC-1-DAY.md"),
        ("日本", "filename=\"session-DAY.md\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC-DAY.md"),
        ("a\u202egpj.exe", 'filename="agpjexe-DAY.md"'),
        ("😀", 'filename="session-DAY.md"'),
    ],
)
def test_the_file_has_a_safe_name(alice: Person, title: str, names: str) -> None:
    session_id = make_session(alice, "ann")
    Session.objects.filter(pk=session_id).update(title=title)
    response, _ = get(alice, session_id, "?format=md")
    day = f"{Session.objects.get(pk=session_id).created_at:%Y-%m-%d}"
    assert response.headers["Content-Disposition"] == f"attachment; {names.replace('DAY', day)}"


def test_what_is_bobs_answers_exactly_as_what_does_not_exist(alice: Person) -> None:
    bob = make_person("bob")
    session_id = make_session(bob, "ann")
    add_turn(bob, session_id, "bob's secret")
    for query in ("", "?format=md"):
        response, body = get(alice, session_id, query)
        assert response.status_code == 404
        assert body == get(alice, uuid7(), query)[1]
    assert exported(bob, session_id)["totals"]["turns"] == 1


def test_what_was_deleted_is_404(alice: Person) -> None:
    first, second = make_session(alice, "ann"), make_session(alice, "ann")
    services.delete_session(Session.objects.get(pk=first))
    services.delete_room(Session.objects.select_related("room").get(pk=second).room)
    for session_id in (first, second):
        response, body = get(alice, session_id)
        assert (response.status_code, json.loads(body)["code"]) == (404, "not_found")


def test_without_a_token_it_is_401() -> None:
    response = APIClient().get(f"{API}/sessions/{uuid7()}/export")
    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")
