"""What rooms and turns refuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from config.core.errors import DomainError


class TurnInProgress(DomainError):
    code, status, title = "turn_in_progress", 409, "A turn is in progress"

    def __init__(self, turn_id: UUID) -> None:
        super().__init__("This session is running another turn.", retry_after_s=1, turn_id=str(turn_id))
        self.turn_id = turn_id


class IdempotencyInProgress(DomainError):
    code, status, title = ("idempotency_in_progress", 409, "The first request is still running")

    def __init__(self, turn_id: UUID) -> None:
        super().__init__("The first request with this key is still running.", retry_after_s=1, turn_id=str(turn_id))


class TurnNotResumable(DomainError):
    """Only an interrupted turn can be continued: once, while it is the last one, and with somebody left to speak."""

    code, status, title = "turn_not_resumable", 409, "Nothing to resume"

    def __init__(self, why: str) -> None:
        super().__init__(why)


class TurnNotRegenerable(DomainError):
    """Only the last turn of a session can be made anew: what came after it has read it."""

    code, status, title = "turn_not_regenerable", 409, "Not the last turn"

    def __init__(self) -> None:
        super().__init__("Only the last turn of a session can be regenerated.")


class EventsExpired(DomainError):
    """The events of a turn are kept for EVENTS_TTL_S after its end; the turn itself stays."""

    code, status, title = "events_expired", 410, "The events are gone"

    def __init__(self) -> None:
        super().__init__("The events of this turn are no longer kept; the turn itself is: GET /turns/{id}.")


class NoValidTaggedAgents(DomainError):
    code, status, title = "no_valid_tagged_agents", 422, "No agent tagged"

    def __init__(self, *, unknown: list[str], known: list[str]) -> None:
        said = f"No agent of this room is called {', '.join('@' + key for key in unknown)}." if unknown else ""
        tags = ", ".join("@" + key for key in known)
        super().__init__(f"{said} Tag one or several of: {tags}.".strip(), unknown_tags=unknown, agent_keys=known)


class NoRoomAgents(DomainError):
    code, status, title = "no_room_agents", 422, "No agents"

    def __init__(self) -> None:
        super().__init__("This room has no agents yet.")


class ContextBudgetExceeded(DomainError):
    code, status, title = "context_budget_exceeded", 422, "Too long for the model"

    def __init__(
        self, *, model_alias: str, needed_tokens: int, context_tokens: int, texts: tuple[str, ...] = ()
    ) -> None:
        super().__init__(
            f"Message and role need up to {needed_tokens} tokens; {model_alias} reads {context_tokens}.",
            model_alias=model_alias,
            needed_tokens=needed_tokens,
            context_tokens=context_tokens,
        )
        # What did not fit by its upper bound: where the provider can count exactly, it is counted before refusing.
        self.model_alias = model_alias
        self.texts = texts


class UnknownModelAlias(DomainError):
    code, status, title = "unknown_model_alias", 422, "Unknown model alias"

    def __init__(self, model_alias: str, *, reason: str = "has no price in the version in force") -> None:
        super().__init__(f"The model alias {model_alias!r} {reason}.", model_alias=model_alias)


class TurnFailed(DomainError):
    """No agent answered. The turn is stored as `failed`; code, status and members are of what kept them from it."""

    title = "The provider failed"
    _TITLES = {"insufficient_credits": "Insufficient credits", "spending_limit_reached": "Spending limit reached"}
    _STATUS = {
        "insufficient_credits": 402,
        "spending_limit_reached": 402,
        "not_found": 404,
        "context_budget_exceeded": 422,
        "unknown_model_alias": 422,
        "provider_error": 502,
        "provider_unavailable": 503,
        "provider_timeout": 504,
    }

    def __init__(self, *, code: str, detail: str, turn_id: UUID, members: Mapping[str, Any]) -> None:
        super().__init__(detail, turn_id=str(turn_id), **members)
        self.code = code  # type: ignore[misc]
        self.title = self._TITLES.get(code, self.title)  # type: ignore[misc]
        self.status = self._STATUS.get(code, 502)  # type: ignore[misc]
