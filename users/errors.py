from __future__ import annotations

from config.core.errors import DomainError


class SignupDisabled(DomainError):
    code, status, title = "signup_disabled", 403, "Sign-up is closed"

    def __init__(self, detail: str = "Accounts are made by the operator here.") -> None:
        super().__init__(detail)
