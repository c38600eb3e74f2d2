"""Tell a worker that there is something to deliver. Best effort: the beat looks every half minute all the same."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import structlog
from kombu.exceptions import OperationalError as BrokerError

log = structlog.get_logger(__name__)
_is_on_its_way = threading.Event()


def announce() -> None:
    """Have a worker look at the outbox soon. Returns at once, without knowing whether it will.

    In a thread, because who settles must not wait for a broker that does not answer. The message names nothing, so one
    on its way is enough for all who come meanwhile.
    """
    if _is_on_its_way.is_set():
        return
    _is_on_its_way.set()
    _thread().submit(_tell)


@cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="alerts")


def _tell() -> None:
    # Before the message is sent: an alert that is committed while it is being sent may miss it, and has its own.
    _is_on_its_way.clear()
    # Late, because the ledger imports this and knows no Celery.
    from billing.alerts.tasks import deliver_alerts

    try:
        deliver_alerts.apply_async(retry=False, ignore_result=True, expires=60)
    except (BrokerError, OSError) as error:
        log.warning("alerts_not_announced", error=str(error))
