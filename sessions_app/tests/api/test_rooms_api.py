"""Rooms, agents and sessions over HTTP: what they show, what deleting leaves, and nothing of bob's for alice."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from config.core.ids import uuid7
from sessions_app.models import Agent, Room, RoomAgent, Session
from sessions_app.tests.makers import make_agents, make_person, make_session

pytestmark = pytest.mark.django_db
API = "/api/v1"


def client_of(person):
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {person.token}")
    return client


@pytest.fixture
def alice():
    return make_person("alice")


@pytest.fixture
def client(alice):
    return client_of(alice)


def without_times(shown):
    return {name: value for name, value in shown.items() if name not in {"id", "created_at", "updated_at"}}


def test_an_agent_is_made_changed_and_deleted(client, alice):
    body = {
        "agent_key": "ann",
        "name": "Ann",
        "model_alias": "gpt-4o",
        "tool_permissions": ["search", "file_read", "search"],
    }
    made = client.post(f"{API}/agents", body)
    assert made.status_code == 201
    assert without_times(made.json()) == {
        **body,
        "description": "",
        "role_prompt": "",
        "tool_permissions": ["search", "file_read"],
    }
    url = f"{API}/agents/{made.json()['id']}"
    changed = client.patch(url, {"role_prompt": "Be brief.", "model_alias": "deepseek"})
    assert (changed.status_code, changed.json()["role_prompt"]) == (200, "Be brief.")
    assert client.get(url).json() == changed.json()
    assert client.patch(url, {"model_alias": "gpt-5"}).json()["code"] == "unknown_model_alias"
    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == 404
    assert client.get(f"{API}/agents").json()["results"] == []
    assert client.post(f"{API}/agents", body).status_code == 201
    assert Agent.objects.filter(user_id=alice.id).count() == 2


def test_an_agents_key_cannot_be_changed_to_a_taken_one(client, alice):
    ann, _ = make_agents(alice, "ann", "ben")
    refused = client.patch(f"{API}/agents/{ann.id}", {"agent_key": "ben"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "agent_key")
    assert Agent.objects.get(pk=ann.id).agent_key == "ann"


def test_a_room_is_made_changed_and_deleted(client):
    made = client.post(f"{API}/rooms", {"name": "Lab", "goal": "Find out.", "mode": "manual"})
    assert (made.status_code, without_times(made.json())) == (
        201,
        {"name": "Lab", "goal": "Find out.", "mode": "manual"},
    )
    url = f"{API}/rooms/{made.json()['id']}"
    assert client.patch(f"{url}/mode", {"mode": "orchestrator"}).json()["mode"] == "orchestrator"
    assert client.patch(url, {"name": "Lab 2"}).json()["name"] == "Lab 2"
    assert client.patch(f"{url}/mode", {"mode": "standalone"}).status_code == 422
    session = client.post(f"{API}/{url.removeprefix(API + '/')}/sessions", {}).json()
    assert session["agent_id"] is None
    assert client.delete(url).status_code == 204
    for gone in (url, f"{url}/agents", f"{url}/sessions", f"{API}/sessions/{session['id']}"):
        assert client.get(gone).status_code == 404
    assert Room.objects.count() == 1


def test_agents_sit_in_a_room_by_position(client, alice):
    ann, ben, cal = make_agents(alice, "ann", "ben", "cal")
    room = client.post(f"{API}/rooms", {"name": "Lab"}).json()
    url = f"{API}/rooms/{room['id']}/agents"
    assert client.post(url, {"agent_id": str(ann.id)}).json() == {
        "agent_id": str(ann.id), "agent_key": "ann", "name": "Ann", "model_alias": "gpt-4o", "position": 0,
        "file_ids": None,
    }  # fmt: skip
    client.post(url, {"agent_id": str(ben.id)})
    client.post(url, {"agent_id": str(cal.id), "position": 0})
    again = client.post(url, {"agent_id": str(ann.id)})
    assert (again.status_code, again.json()["errors"][0]["code"]) == (422, "unique")
    assert client.patch(f"{url}/{ann.id}", {"position": 7}).json()["position"] == 7
    assert [row["agent_key"] for row in client.get(url).json()["results"]] == ["cal", "ben", "ann"]
    assert client.delete(f"{url}/{ben.id}").status_code == 204
    assert client.delete(f"{url}/{ben.id}").status_code == 404
    client.delete(f"{API}/agents/{cal.id}")
    assert [row["agent_key"] for row in client.get(url).json()["results"]] == ["ann"]


def test_a_session_with_one_agent_has_no_room_to_see(client, alice):
    (ann,) = make_agents(alice, "ann")
    url = f"{API}/agents/{ann.id}/sessions"
    first, second = client.post(url, {"title": "One"}).json(), client.post(url, {}).json()
    assert (first["room_id"], first["agent_id"], first["title"]) == (None, str(ann.id), "One")
    assert [row["id"] for row in client.get(url).json()["results"]] == [second["id"], first["id"]]
    assert client.get(f"{API}/rooms").json()["results"] == []
    hidden = Session.objects.get(id=first["id"]).room_id
    assert client.get(f"{API}/rooms/{hidden}").status_code == 404
    assert client.delete(f"{API}/sessions/{first['id']}").status_code == 204
    assert client.get(f"{API}/sessions/{first['id']}").status_code == 404
    client.delete(f"{API}/agents/{ann.id}")
    assert client.get(f"{API}/sessions/{second['id']}").status_code == 404


def test_a_session_is_given_a_title_and_none(client, alice):
    session_id = make_session(alice, "ann")
    url = f"{API}/sessions/{session_id}"
    before = client.get(url).json()
    assert before["title"] == ""
    for title, stored in (("Plans", "Plans"), ("  Zoë's 日本 😀  ", "Zoë's 日本 😀"), ("x" * 200, "x" * 200), ("", "")):
        answer = client.patch(url, {"title": title})
        assert (answer.status_code, answer.json()) == (200, {**before, "title": stored})
        assert client.get(url).json()["title"] == stored
    assert client.patch(url, {}).json() == before


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": "x" * 201}, "title"),
        ({"title": None}, "title"),
        ({"title": 5}, "title"),
        ({"title": ["x"]}, "title"),
        ({"title": "a\x00b"}, "title"),
        ({"titel": "x"}, "titel"),
        ({"title": "x", "room_id": str(uuid7())}, "room_id"),
    ],
)
def test_a_title_that_is_none_is_refused_and_nothing_changes(client, alice, body, field):
    session_id = make_session(alice, "ann")
    Session.objects.filter(pk=session_id).update(title="Before")
    answer = client.patch(f"{API}/sessions/{session_id}", body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert Session.objects.get(pk=session_id).title == "Before"


def test_a_room_session_starts_with_a_title_or_without(client, alice):
    room = Session.objects.get(pk=make_session(alice, "ann")).room_id
    url = f"{API}/rooms/{room}/sessions"
    assert [client.post(url, body).json()["title"] for body in ({"title": "One"}, {"title": ""}, {})] == ["One", "", ""]
    assert client.post(url, {"title": "x" * 201}).status_code == 422


def test_lists_are_paged_each_row_once(client):
    for number in range(5):
        client.post(f"{API}/rooms", {"name": f"Room {number}"})
    seen, url = [], f"{API}/rooms?page_size=2"
    while url:
        page = client.get(url).json()
        seen += [row["name"] for row in page["results"]]
        url = page["next"]
        client.post(f"{API}/rooms", {"name": "late"})
    assert seen == ["Room 4", "Room 3", "Room 2", "Room 1", "Room 0"]


def routes(agent, room, session):
    yield from ((method, f"/agents/{agent}") for method in ("get", "patch", "delete"))
    yield from ((method, f"/rooms/{room}") for method in ("get", "patch", "delete"))
    yield from ((method, f"/rooms/{room}/agents") for method in ("get", "post"))
    yield from ((method, f"/rooms/{room}/agents/{agent}") for method in ("patch", "delete"))
    yield from ((method, f"/rooms/{room}/sessions") for method in ("get", "post"))
    yield from ((method, f"/agents/{agent}/sessions") for method in ("get", "post"))
    yield from ((method, f"/sessions/{session}") for method in ("get", "patch", "delete"))
    yield ("patch", f"/rooms/{room}/mode")
    yield ("get", f"/sessions/{session}/messages")
    yield ("post", f"/sessions/{session}/turns/estimate")


def test_what_is_bobs_answers_exactly_as_what_does_not_exist(client):
    bob = make_person("bob")
    session = Session.objects.get(id=make_session(bob, "ann"))
    agent = Agent.objects.get(user_id=bob.id)
    rows = {model: list(model.objects.order_by("pk").values()) for model in (Agent, Room, RoomAgent, Session)}
    everything = {"name": "x", "mode": "manual", "agent_id": str(agent.id), "position": 3}
    absent = routes(uuid7(), uuid7(), uuid7())
    for (method, path), (_, missing) in zip(routes(agent.id, session.room_id, session.id), absent, strict=True):
        body = {"message": "hi"} if path.endswith("estimate") else everything
        body = {"title": "x"} if path.startswith("/sessions") and method == "patch" else body
        answer = getattr(client, method)(f"{API}{path}", body)
        assert (path, answer.status_code, answer.json()) == (
            path, 404, getattr(client, method)(f"{API}{missing}", body).json(),
        )  # fmt: skip
    for model, before in rows.items():
        assert list(model.objects.filter(pk__in=[row["id"] for row in before]).order_by("pk").values()) == before


def test_bobs_agent_cannot_be_seated_in_alices_room(client):
    bob = make_person("bob")
    (bens,) = make_agents(bob, "ben")
    room = client.post(f"{API}/rooms", {"name": "Lab"}).json()
    answer = client.post(f"{API}/rooms/{room['id']}/agents", {"agent_id": str(bens.id)})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert RoomAgent.objects.filter(room_id=room["id"]).count() == 0
