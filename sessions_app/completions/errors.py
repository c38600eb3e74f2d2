"""What the door refuses beyond what turns do."""

from __future__ import annotations

from uuid import UUID

from config.core.errors import DomainError


class CompletionInProgress(DomainError):
    code, status, title = "idempotency_in_progress", 409, "The first request is still running"

    def __init__(self, completion_id: UUID) -> None:
        super().__init__(
            "The first request with this key is still running.", retry_after_s=1, completion_id=str(completion_id)
        )


class CompletionFailed(DomainError):
    """The provider gave no answer. What it may have counted is billed; usually that is nothing."""

    title = "The provider failed"
    _STATUS = {"provider_error": 502, "provider_unavailable": 503, "provider_timeout": 504}

    def __init__(self, *, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code  # type: ignore[misc]
        self.status = self._STATUS.get(code, 502)  # type: ignore[misc]
