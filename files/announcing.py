"""Tell a worker that there is a file to parse. Best effort: the row waits, and the beat looks for it all the same."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import structlog
from kombu.exceptions import OperationalError as BrokerError

log = structlog.get_logger(__name__)
_EXPIRES_S = 60
_is_on_its_way = threading.Event()


def announce() -> None:
    """Have a worker look soon. Returns at once: an upload must not wait for a broker that does not answer.

    The message names nothing, so one on its way is enough for all who come meanwhile.
    """
    if _is_on_its_way.is_set():
        return
    _is_on_its_way.set()
    _thread().submit(_tell)


@cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="files-announcing")


def _tell() -> None:
    # Before the message is sent: an upload that is committed while it is being sent may miss it, and has its own.
    _is_on_its_way.clear()
    from files.tasks import parse_uploads

    try:
        parse_uploads.apply_async(retry=False, ignore_result=True, expires=_EXPIRES_S)
    except (BrokerError, OSError) as error:
        log.warning("upload_not_announced", error=str(error))
