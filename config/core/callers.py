"""Who makes a request, as an id: what services take."""

from __future__ import annotations

from uuid import UUID

from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request


def caller_id(request: Request) -> UUID:
    """Raises: NotAuthenticated. Views behind IsAuthenticated never see that."""
    user_id = request.user.pk
    if not isinstance(user_id, UUID):
        raise NotAuthenticated
    return user_id
