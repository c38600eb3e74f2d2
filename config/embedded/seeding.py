"""What `make demo` and `make run` start from: a staff user, a user with credits, two agents, a room, a session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO

from django.core.management import call_command

from config.embedded.api_client import ApiClient
from config.embedded.llm import PROVIDER, PROVIDER_MODEL
from config.embedded.llm_settings import CONTEXT_TOKENS_PER_SLOT
from config.embedded.progress import step
from users.models import User

STAFF_EMAIL = "admin@example.com"
USER_EMAIL = "demo@example.com"
GRANT_CREDITS = "10"
MODEL_ALIAS = "local"
MULTIPLIER = "0.1000"


@dataclass(frozen=True)
class AgentSpec:
    agent_key: str
    name: str
    role_prompt: str


AGENTS = (
    AgentSpec("optimist", "Optimist", "You are a helpful assistant. You say in two short sentences what is good."),
    AgentSpec("skeptic", "Skeptic", "You are a helpful assistant. You say in two short sentences what could go wrong."),
)


def migrate() -> None:
    with step("migrations"):
        call_command("migrate", verbosity=0, interactive=False)


def ensure_people(*, staff_password: str, user_password: str) -> None:
    """The staff user, and a user with credits."""
    _ensure_staff(staff_password)
    _ensure_user(user_password)
    _grant_credits()


def _ensure_staff(password: str) -> None:
    staff = User.objects.with_address(STAFF_EMAIL).first()
    if staff is None:
        User.objects.create_superuser(email=STAFF_EMAIL, password=password)
    else:
        _set_password(staff, password)


def _ensure_user(password: str) -> None:
    user = User.objects.with_address(USER_EMAIL).first()
    if user is None:
        User.objects.create_user(email=USER_EMAIL, password=password)
    else:
        _set_password(user, password)


def _set_password(user: User, password: str) -> None:
    user.set_password(password)
    user.save(update_fields=["password"])


def _grant_credits() -> None:
    """A campaign pays each user once; one of its own per start, so that the wallet never runs dry."""
    campaign = f"start-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    call_command(
        "grant_beta_credits",
        amount=Decimal(GRANT_CREDITS),
        user=[USER_EMAIL],
        campaign=campaign,
        stdout=StringIO(),
        stderr=StringIO(),
    )


def price_local_model(admin: ApiClient) -> None:
    """Put the bundled model on the active price list. Each change is a recorded revision, so an equal row stays."""
    prices = admin.get("/admin/pricing")
    wanted = {
        "multiplier": MULTIPLIER,
        "provider": PROVIDER,
        "provider_model": PROVIDER_MODEL,
        "context_tokens": CONTEXT_TOKENS_PER_SLOT,
    }
    for row in prices["models"]:
        if row["model_alias"] == MODEL_ALIAS and all(row.get(field) == value for field, value in wanted.items()):
            return
    admin.put(f"/admin/pricing/versions/{prices['pricing_version']}/models/{MODEL_ALIAS}", wanted)


def ensure_agents(user: ApiClient, specs: Sequence[AgentSpec] = AGENTS) -> list[str]:
    """The ids of the agents, in order; one that exists stays as it is."""
    existing = {agent["agent_key"]: agent["id"] for agent in user.pages("/agents")}
    return [existing.get(spec.agent_key) or _make_agent(user, spec) for spec in specs]


def _make_agent(user: ApiClient, spec: AgentSpec) -> str:
    body = {
        "agent_key": spec.agent_key,
        "name": spec.name,
        "role_prompt": spec.role_prompt,
        "model_alias": MODEL_ALIAS,
        "tool_permissions": [],
    }
    return str(user.post("/agents", body)["id"])


def make_session(user: ApiClient, agent_ids: Sequence[str]) -> str:
    """A session in a new round-table room."""
    room = user.post("/rooms", {"name": "Round table", "goal": "Weigh an idea.", "mode": "roundtable"})
    for position, agent_id in enumerate(agent_ids):
        user.post(f"/rooms/{room['id']}/agents", {"agent_id": agent_id, "position": position})
    return str(user.post(f"/rooms/{room['id']}/sessions")["id"])
