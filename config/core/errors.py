"""A refusal is a `DomainError`: code, status and members stand in one place and become problem+json in one place."""

from __future__ import annotations

from typing import Any, ClassVar


class DomainError(Exception):
    """A planned refusal.

    `code` is API and never changes. `members` are extra members of the problem document, `headers` of the response.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 400
    title: ClassVar[str] = "Refused"

    def __init__(self, detail: str, *, retry_after_s: int | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        self.members = members


class NotFound(DomainError):
    code, status, title = "not_found", 404, "Not found"

    def __init__(self, detail: str = "There is no such resource.") -> None:
        super().__init__(detail)


class ValidationFailed(DomainError):
    """Input that a serializer cannot judge alone. `field` names the culprit."""

    code, status, title = "validation_error", 422, "Invalid input"

    def __init__(self, detail: str, *, field: str, error_code: str = "invalid") -> None:
        super().__init__(detail, errors=[{"field": field, "code": error_code, "detail": detail}])


class AdminRequired(DomainError):
    code, status, title = "admin_required", 403, "Staff only"

    def __init__(self, detail: str = "This needs a staff account.") -> None:
        super().__init__(detail)


class PermissionMissing(DomainError):
    code, status, title = "permission_denied", 403, "Permission denied"

    def __init__(self, detail: str = "Your staff account lacks the permission for this.") -> None:
        super().__init__(detail)


class DatabaseUnavailable(DomainError):
    code, status, title = "database_unavailable", 503, "Database unavailable"

    def __init__(self, detail: str = "The database does not answer; please try again.") -> None:
        super().__init__(detail, retry_after_s=2)


class WalletBusy(DomainError):
    """What the request needs was locked by others for too long, or they collided with it. Nothing was written."""

    code, status, title = "wallet_busy", 409, "Wallet busy"

    def __init__(self, detail: str = "This wallet is busy; please try again.") -> None:
        super().__init__(detail, retry_after_s=1)


class RequestTooLarge(DomainError):
    code, status, title = "request_too_large", 413, "Request too large"


class FileTooLarge(DomainError):
    code, status, title = "file_too_large", 413, "File too large"

    def __init__(self, *, limit_bytes: int) -> None:
        super().__init__(f"A file may have at most {limit_bytes:,} bytes.", limit_bytes=limit_bytes)


class NoRoomForBody(DomainError):
    code, status, title = "storage_unavailable", 503, "Storage unavailable"

    def __init__(self) -> None:
        super().__init__("There is no room for this request right now; please try again.", retry_after_s=5)


class RateLimited(DomainError):
    code, status, title = "rate_limited", 429, "Too many requests"

    def __init__(self, detail: str = "", *, retry_after_s: int) -> None:
        seconds = "a second" if retry_after_s == 1 else f"{retry_after_s} seconds"
        super().__init__(
            detail or f"Too many requests; please try again in {seconds}.",
            retry_after_s=retry_after_s,
            retry_after_seconds=retry_after_s,
        )


class ShuttingDown(DomainError):
    code, status, title = "provider_unavailable", 503, "Shutting down"

    def __init__(self, detail: str = "This process is shutting down; please try again.") -> None:
        super().__init__(detail, retry_after_s=1)


class IdempotencyKeyMalformed(DomainError):
    code, status, title = "idempotency_key_malformed", 400, "Malformed idempotency key"

    def __init__(self, detail: str = "Idempotency-Key must be 1 to 255 printable ASCII characters.") -> None:
        super().__init__(detail)


class IdempotencyKeyReused(DomainError):
    code, status, title = "idempotency_key_reused", 422, "Idempotency key reused"

    def __init__(self, detail: str = "This Idempotency-Key was used with a different request.") -> None:
        super().__init__(detail)
