"""How many files the process may have open: a stream is two of them, its viewer's connection and its provider's."""

from __future__ import annotations

import resource

import structlog

log = structlog.get_logger(__name__)
# Far above what one process can serve; some systems refuse "unlimited".
WANTED = 65_536


def raise_open_files_limit() -> int:
    """Raise the soft limit as far as the hard one allows; returns it.

    The usual soft limit of 1,024 is there for programs that use select(). With it, the 500th stream would be reset.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reachable = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft == resource.RLIM_INFINITY or soft >= reachable:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))
    except (OSError, ValueError) as error:
        log.warning("open_files_limit_not_raised", soft=soft, hard=hard, error=str(error))
        return soft
    return reachable
