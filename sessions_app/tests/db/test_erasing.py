"""Erasing alice: no row of any table knows her any more, bob's are untouched, and the ledger still adds up."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from redis import Redis

from billing import ledger
from billing.alerts.endpoints import make_endpoint
from billing.alerts.preferences import set_mail
from billing.ledger import Reference
from billing.limits import services as limits
from billing.models import CreditTransaction, CreditWallet, LLMCallEvent, SpendingLimit, ToolCallEvent, WebhookEndpoint
from billing.tests.makers import credits, make_call, make_hold, settle, share
from config.core.ids import uuid7
from config.core.models import IdempotencyKey
from files import storage
from files.models import FilePassage, UploadedFile
from sessions_app.models import (
    Agent,
    Completion,
    Message,
    Room,
    RoomAgent,
    Session,
    SessionSummary,
    Turn,
    TurnContextAudit,
    TurnStep,
)
from sessions_app.tests.makers import PASSWORD, make_ended_turn, make_person, make_session
from users import api_keys
from users.models import ApiKey, ExternalIdentity, User
from users.staff_log import record

pytestmark = pytest.mark.django_db(transaction=True)


def make_everything(name, settings):
    """Somebody of whom there is something in every table, each text with a word that is only theirs."""
    settings.WEBHOOK_ALLOW_PRIVATE = True
    person = make_person(name, display_name=f"canary-{name}-display")
    word = f"canary-{name}"
    user = User.objects.get(pk=person.id)
    session_id = make_session(person, f"{name}_agent")
    Agent.objects.filter(user=user).update(
        name=f"{word}-agent", description=f"{word}-description", role_prompt=f"{word}-prompt"
    )
    Room.objects.filter(user=user).update(name=f"{word}-room", goal=f"{word}-goal")
    Session.objects.filter(user=user).update(title=f"{word}-title")
    session = Session.objects.get(pk=session_id)
    agent = Agent.objects.get(user=user)
    turn = make_ended_turn(
        person, session_id, user_input=f"{word}-input", speakers=[{"name": f"{word}-speaker"}],
        warnings=[{"detail": f"{word}-warning"}], stand_ins={"housekeeper": f"{word}-stand-in"},
        error_detail=f"{word}-error", idempotency_key=f"{word}-key", request_id=f"{word}-request",
    )  # fmt: skip
    step = TurnStep.objects.create(
        turn=turn, step_index=0, agent_id=agent.id, agent_key=f"{name}_agent", agent_name=f"{word}-agent",
        purpose="agent", model_alias="gpt-4o", status="success", content=f"{word}-answer",
        call={"request_id": f"{word}-request"}, context={"tools": [f"{word}-result"]}, started_at=timezone.now(),
        finished_at=timezone.now(),
    )  # fmt: skip
    message = Message.objects.create(
        session=session, turn=turn, role="assistant", agent_id=agent.id, agent_key=f"{name}_agent",
        agent_name=f"{word}-agent", content=f"{word}-content",
    )  # fmt: skip
    SessionSummary.objects.create(
        session=session, turn=turn, model_alias="gpt-4o", used_fallback=False, text=f"{word}-notes",
        key_facts=[f"{word}-fact"], through_turn_index=1, through_message_id=message.id, messages=1,
    )  # fmt: skip
    numbers = {field.name: 0 for field in TurnContextAudit._meta.fields if field.get_internal_type() == "IntegerField"}
    TurnContextAudit.objects.create(
        turn=turn, session=session, strategy="all", explanation=f"{word}-explanation", model_alias="gpt-4o",
        summary_used_fallback=False, exact=False, calls=[{"agent": f"{word}-agent"}], **numbers,
    )  # fmt: skip
    ToolCallEvent.objects.create(
        turn_id=turn.id, session_id=session_id, room_id=turn.room_id, user_id=person.id, step_id=step.id,
        agent_id=agent.id, credits_burned=0, pricing_version="2026-02-20", pricing_revision=1,
        created_at=timezone.now(),
        agent_key=f"{name}_agent", call_index=1, tool_name=f"{word}-tool", arguments_hash="0" * 64, status="success",
        latency_ms=1, result_bytes=1, called_at=timezone.now(),
    )  # fmt: skip
    Completion.objects.create(
        user_id=person.id, model_alias="gpt-4o", status="completed", pricing_version="2026-02-20", pricing_revision=1,
        claim=uuid7(), lease_expires_at=timezone.now(), finished_at=timezone.now(), answer={"text": f"{word}-said"},
    )  # fmt: skip
    IdempotencyKey.objects.create(
        caller_id=person.id, key=f"{word}-key", fingerprint="0" * 64, resource_type="turn", resource_id=turn.id
    )
    key = storage.key_of(user_id=person.id, sha256=f"{word}".encode().hex().ljust(64, "0")[:64])
    storage.put(key, io.BytesIO(f"{word}-bytes".encode()))
    file = UploadedFile.objects.create(
        user=user, room_id=turn.room_id, name=f"{word}.txt", kind="txt", size_bytes=3, sha256="0" * 64,
        storage_key=key, parse_status="completed",
    )  # fmt: skip
    FilePassage.objects.create(file=file, position=0, start_char=0, text=f"{word}-passage")
    ExternalIdentity.objects.create(user=user, issuer="https://id.example.com", subject=f"{word}-subject")
    api_key = api_keys.issue(user, name=f"{word}-machine").row
    make_endpoint(user_id=person.id, url=f"http://127.0.0.1:9/{word}-hook")
    set_mail(person.id, is_wanted=False)
    limits.create(
        user_id=person.id, subject="user", subject_id=person.id, period="day", amount=credits("5"), tz="UTC",
        set_by=str(person.id),
    )  # fmt: skip
    boss = make_person("boss", is_staff=True, is_superuser=True)
    record(user, f"Changed {person.email}.", actor=boss.id)
    record(api_key, "Looked at.", actor=boss.id)
    reference = make_hold(person.id, "2")
    settle(person.id, reference, make_call(turn_id=reference.id))
    return person


def rows_with(*words):
    """(table, column) of every text, array or JSON in which one of the words stands."""
    found = []
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT table_name, column_name FROM information_schema.columns
                WHERE table_schema = 'public' AND table_name IN (
                      SELECT table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE')
                  AND (data_type IN ('text', 'character varying', 'jsonb', 'json', 'ARRAY', 'tsvector'))"""
        )
        for table, column in cursor.fetchall():
            cursor.execute(
                f'SELECT count(*) FROM "{table}" WHERE "{column}"::text ~* %s',  # noqa: S608
                ["|".join(word.replace(".", r"\.") for word in words)],
            )
            if cursor.fetchone()[0]:
                found.append((table, column))
    return sorted(found)


def snapshot(person):
    """All that there is of a person, to compare with itself."""
    user = User.objects.filter(pk=person.id).values().get()
    models = [
        *(Agent, Room, Session, Turn, UploadedFile, ApiKey, ExternalIdentity, Completion, ToolCallEvent),
        *(CreditWallet, CreditTransaction, LLMCallEvent, SpendingLimit, WebhookEndpoint),
    ]
    rows = {model: list(model.objects.filter(user_id=person.id).order_by("pk").values()) for model in models}
    turns = [row["id"] for row in rows[Turn]]
    of_turns = {
        model: list(model.objects.filter(turn_id__in=turns).order_by("pk").values())
        for model in (Message, TurnStep, SessionSummary, TurnContextAudit)
    }
    seats = list(RoomAgent.objects.filter(room__user_id=person.id).values())
    return user, rows, of_turns, seats


def test_nothing_knows_alice_any_more_and_bob_is_untouched(settings, capsys):
    alice, bob = make_everything("alice", settings), make_everything("bob", settings)
    assert len(rows_with("canary-alice", alice.email)) > 30
    money = [list(model.objects.order_by("pk").values()) for model in (CreditTransaction, LLMCallEvent)]
    wallets = list(CreditWallet.objects.order_by("pk").values("pk", "balance", "held", "last_seq", "last_hash"))
    bobs, keys = snapshot(bob), list(UploadedFile.objects.values_list("user_id", "storage_key"))
    call_command("erase_user", alice.email.upper(), interactive=False)
    assert capsys.readouterr().out == (
        f"User {alice.id} is erased: 1 messages, 1 files, the words of 1 turns. "
        "Wallet, entries and usage events stay, under this id.\n"
    )
    assert rows_with("canary-alice", alice.email) == []
    assert snapshot(bob) == bobs
    assert [storage.has(key) for owner, key in keys if owner == bob.id] == [True]
    assert [storage.has(key) for owner, key in keys if owner == alice.id] == [False]
    # Money: every row as it was, and it adds up.
    assert [list(model.objects.order_by("pk").values()) for model in (CreditTransaction, LLMCallEvent)] == money
    assert list(CreditWallet.objects.order_by("pk").values("pk", "balance", "held", "last_seq", "last_hash")) == wallets
    call_command("check_ledger", verbosity=0)
    user = User.objects.get(pk=alice.id)
    assert (user.email, user.display_name, user.is_active) == (f"{alice.id}@identity.invalid", "", False)
    assert not user.has_usable_password()
    assert (user.auth_token_set.count(), user.api_keys.count(), user.identities.count()) == (0, 0, 0)
    assert LogEntry.objects.filter(object_id=str(alice.id)).values_list("object_repr", flat=True)[0] == user.email
    # The turn is there, with what its bill is made of.
    assert Turn.objects.filter(user_id=alice.id).values_list("status", "user_input", "speakers").get() == (
        "completed", "", [],
    )  # fmt: skip
    assert TurnStep.objects.filter(turn__user_id=alice.id).values_list("agent_key", "content").get() == ("erased", "")


def test_alice_cannot_come_back_and_a_second_run_finds_nobody(settings, client, capsys):
    alice = make_everything("alice", settings)
    call_command("erase_user", alice.email, "--noinput")
    before = snapshot(alice)
    capsys.readouterr()
    call_command("erase_user", alice.email, "--noinput")
    assert capsys.readouterr().out == f"There is no user {alice.email}: nothing to erase.\n"
    assert snapshot(alice) == before
    login = {"email": alice.email, "password": PASSWORD}
    assert client.post("/api/v1/auth/token", login, content_type="application/json").status_code == 401
    answer = client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {alice.token}"})
    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")


def test_what_broke_off_is_gone_on_with(settings, monkeypatch):
    alice = make_everything("alice", settings)

    def breaks(user_id):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("billing.erasing.forget", breaks)
        with pytest.raises(KeyboardInterrupt):
            call_command("erase_user", alice.email, "--noinput")
    assert User.objects.get(pk=alice.id).is_active is False
    call_command("erase_user", alice.email, "--noinput")
    assert rows_with("canary-alice", alice.email) == []


@pytest.mark.parametrize("typed", ["", "yes", "bob@example.com"])
def test_without_the_address_typed_nothing_is_erased(settings, monkeypatch, typed):
    alice = make_everything("alice", settings)
    before = snapshot(alice)
    monkeypatch.setattr("builtins.input", lambda _: typed)
    with pytest.raises(CommandError, match=r"Nothing was erased\."):
        call_command("erase_user", alice.email)
    assert snapshot(alice) == before
    monkeypatch.setattr("builtins.input", lambda _: alice.email)
    call_command("erase_user", alice.email)
    assert rows_with("canary-alice", alice.email) == []


def test_a_turn_that_runs_is_cancelled_and_one_that_does_not_end_stops_the_erasure(settings):
    alice = make_everything("alice", settings)
    session = make_session(alice, "other")
    running = make_ended_turn(
        alice, session, status="running", finished_at=None,
        lease_expires_at=timezone.now() + timedelta(minutes=5),
    )  # fmt: skip
    ledger.place_hold(
        user_id=alice.id, reference=Reference("turn", running.id), shares=[share("1")], enforcement="hard"
    )  # fmt: skip
    with pytest.raises(CommandError, match="still runs"):
        call_command("erase_user", alice.email, "--noinput", "--wait", "0.1")
    running.refresh_from_db()
    assert running.cancel_requested_at is not None
    assert Message.objects.filter(content="canary-alice-content").count() == 1
    assert User.objects.get(pk=alice.id).is_active is False
    # Its process has died: nobody renews the lease.
    Turn.objects.filter(pk=running.pk).update(lease_expires_at=timezone.now())
    call_command("erase_user", alice.email, "--noinput")
    running.refresh_from_db()
    assert (running.status, running.user_input) == ("cancelled", "")
    assert rows_with("canary-alice", alice.email) == []


def test_events_in_redis_are_gone_at_once(settings):
    alice, bob = make_everything("alice", settings), make_everything("bob", settings)
    keys = {
        person: f"tallyroom:turn:{Turn.objects.get(user_id=person.id).id}:events" for person in (alice, bob)
    }  # fmt: skip
    with Redis.from_url(settings.REDIS_URL) as redis:
        for key in keys.values():
            redis.xadd(key, {"name": "chunk", "data": "{}"}, id="1-0")
        call_command("erase_user", alice.email, "--noinput")
        assert (redis.exists(keys[alice]), redis.exists(keys[bob])) == (0, 1)
        redis.delete(keys[bob])


def test_an_overdrawn_wallet_stays_as_it_is(settings):
    alice = make_everything("alice", settings)
    ledger.adjust(user_id=alice.id, amount=credits("-20"), reason="chargeback", initiated_by="test")
    call_command("erase_user", alice.email, "--noinput")
    assert str(CreditWallet.objects.get(user_id=alice.id).balance) == "-11.00000000"
