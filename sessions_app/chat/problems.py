"""What a server says instead of success, and how a person is told."""

from __future__ import annotations

from typing import Any

import httpx


class ChatError(Exception):
    """Something that a person is told in one sentence."""


class Unreachable(ChatError):
    """No answer, or one that was cut off."""


class NothingLeft(ChatError):
    """204 where events were asked for: the turn has ended and they were all read."""


class Problem(ChatError):
    """A refusal: problem+json, or whatever else was answered in its place."""

    def __init__(self, status: int, members: dict[str, Any]) -> None:
        self.status = status
        self.members = members
        self.code = str(members.get("code") or f"http_{status}")
        super().__init__(sentence(self))

    @property
    def retry_after_s(self) -> float | None:
        value = self.members.get("retry_after_seconds")
        return float(value) if isinstance(value, (int, float)) and value >= 0 else None

    @property
    def turn_id(self) -> str | None:
        return self.members.get("turn_id")

    @property
    def is_missing_operation(self) -> bool:
        """An older server than this client: it does not know what was asked for."""
        return self.status in {404, 405}


def problem_of(answer: httpx.Response) -> Problem:
    """From a response whose body was read."""
    try:
        members = answer.json()
    except ValueError:
        members = None
    if not isinstance(members, dict):
        members = {"detail": f"The server answered {answer.status_code} and gave no reason"}
    after = answer.headers.get("Retry-After", "")
    if after.isascii() and after.isdigit():
        members.setdefault("retry_after_seconds", int(after[:6]))
    return Problem(answer.status_code, members)


def sentence(problem: Problem) -> str:
    """One sentence with the code, and with what helps on."""
    said = str(problem.members.get("detail") or problem.members.get("title") or f"Refused with {problem.status}")
    errors = problem.members.get("errors")
    if isinstance(errors, list) and len(errors) > 1:
        said = "; ".join(f"{error.get('field')}: {str(error.get('detail')).rstrip('.')}" for error in errors)
    parts = [f"{said.rstrip('.')} ({problem.code})"]
    if problem.status == 402:
        parts += _affordable(problem.members)
    elif problem.status == 429 and problem.retry_after_s is not None:
        parts.append(f"try again in {problem.retry_after_s:.0f} s")
    elif problem.code == "turn_in_progress":
        parts.append("/resume watches it, /cancel stops it")
    return "; ".join(parts) + "."


def _affordable(members: dict[str, Any]) -> list[str]:
    parts = []
    if members.get("required") is not None:
        parts.append(f"needed {members['required']}, available {members.get('available')}")
    if "affordable_models" in members:
        parts.append(f"models that would fit: {', '.join(members['affordable_models'] or []) or 'none'}")
    if members.get("affordable_max_output_tokens"):
        parts.append(f"an answer of at most {members['affordable_max_output_tokens']} tokens would fit")
    return parts
