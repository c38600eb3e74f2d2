from __future__ import annotations

from config.core.errors import DomainError


class SignupDisabled(DomainError):
    code, status, title = "signup_disabled", 403, "Sign-up is closed"

    def __init__(self, detail: str = "Accounts are made by the operator here.") -> None:
        super().__init__(detail)


class IdentityProviderUnavailable(DomainError):
    """Not a 401: the token may well be good, and a client that throws it away would log its user out for nothing."""

    code, status, title = "identity_provider_unavailable", 503, "Identity provider unavailable"

    def __init__(self, detail: str = "The identity provider's keys cannot be read now; please try again.") -> None:
        super().__init__(detail, retry_after_s=10)
