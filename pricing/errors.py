"""What the pricing API refuses, and with which code."""

from __future__ import annotations

from config.core.errors import DatabaseUnavailable, DomainError


class UnknownModelAlias(DomainError):
    """Named in an address, so it is a missing resource here; opening a turn has its own refusal for it."""

    code, status, title = "unknown_model_alias", 404, "Unknown model alias"

    def __init__(self, pricing_version: str) -> None:
        super().__init__(f"Price version {pricing_version} has no such model alias.")


class StaleRevision(DomainError):
    """Somebody else was faster. `revision` is the one to look at before trying again."""

    code, status, title = "stale_revision", 409, "Stale revision"

    def __init__(self, *, pricing_version: str, expected: int, revision: int) -> None:
        super().__init__(
            f"Price version {pricing_version} is at revision {revision} by now, not at {expected}.",
            pricing_version=pricing_version,
            revision=revision,
        )


class AnotherIsActive(DomainError):
    """What was to be replaced is not active any more: somebody else was faster."""

    code, status, title = "stale_revision", 409, "Another version is active"

    def __init__(self, *, replaces: str, pricing_version: str, revision: int) -> None:
        super().__init__(
            f"Price version {pricing_version} is active by now, not {replaces}: look again at what would change.",
            pricing_version=pricing_version,
            revision=revision,
        )


class VersionNotEditable(DomainError):
    code, status, title = "version_not_editable", 409, "Version not editable"

    def __init__(
        self,
        *,
        pricing_version: str,
        version_status: str,
        rule: str = "only drafts and the active version can be edited",
    ) -> None:
        super().__init__(
            f"Price version {pricing_version} is {version_status}; {rule}.",
            pricing_version=pricing_version,
            version_status=version_status,
        )


class NoActiveVersion(DatabaseUnavailable):
    """Nothing can be priced. The database keeps this from happening once a version has ever been active (L7)."""

    def __init__(self) -> None:
        super().__init__("No price version is active.")
