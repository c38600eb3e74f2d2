"""How often a login may fail: for an e-mail address from one place, and from one place for all of them.

An e-mail address alone is not counted: whoever knows somebody's could lock that person out with it. What is counted is
only a digest of it.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable
from typing import TypeVar

from django.conf import settings

from config.core import rate_limits
from config.core.rate_limits import Limit

T = TypeVar("T")
# What one customer of a provider has to choose from.
_IPV6_PREFIX = 64


def limited_login(log_in: Callable[[], T | None], *, email: str, address: str) -> T | None:
    """What `log_in` answers, None for wrong credentials. Only that counts.

    Raises: RateLimited, before any password is hashed.
    """
    with rate_limits.counted(*_limits(email, network_of(address))) as ticket:
        found = log_in()
        if found is not None:
            rate_limits.give_back(ticket)
        return found


def network_of(address: str) -> str:
    """The address, or of an IPv6 address its network; `unknown` where there is none, as behind a Unix socket."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    mapped = getattr(parsed, "ipv4_mapped", None)
    if parsed.version == 4 or mapped is not None:
        return str(mapped or parsed)
    return str(ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False))


def _limits(email: str, network: str) -> list[Limit]:
    # Braces: where Redis is a cluster, both lie together.
    digest = hashlib.sha256(email.strip().lower().encode("utf-8", "replace")).hexdigest()[:32]
    window_s = settings.RATE_LIMIT_LOGIN_WINDOW_S
    return [
        Limit(f"login:{{{network}}}:{digest}", settings.RATE_LIMIT_LOGIN_FAILURES, window_s),
        Limit(f"login:{{{network}}}", settings.RATE_LIMIT_LOGIN_FAILURES_PER_ADDRESS, window_s),
    ]
