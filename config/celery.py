"""The worker and its beat. The schedule is code: what runs when is read here and changed in a commit."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from celery import Celery, signals
from celery.schedules import crontab

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.conf import settings

from config import broker
from config.core import metrics, tracing
from config.core.open_files import raise_open_files_limit

broker.register()
app = Celery("tallyroom")
app.conf.update(
    broker_url=settings.CELERY_BROKER_URL,
    broker_use_ssl=broker.encryption(settings.CELERY_BROKER_URL),
    # The turn row is the state; nobody waits for a task's result.
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        # Longer than the longest turn: a message that is delivered again while its turn runs only finds it claimed.
        "visibility_timeout": settings.TURN_TIMEOUT_S + 600,
        "socket_connect_timeout": 2,
        # A Redis that is paused, or behind a network that drops packets, takes connections and never answers; whoever
        # sends would wait for ever.
        "socket_timeout": 2,
        # Of sending: a queued turn's row is its outbox, beat has a next time; a consumer connects again by itself.
        "max_retries": 0,
    },
    timezone="UTC",
    beat_schedule={
        # For a beat that runs alone; a worker with beat has a thread for it.
        "settle-interrupted": {
            "task": "sessions_app.tasks.settle_interrupted",
            "schedule": settings.SWEEP_INTERVAL_S,
            # A sweep that waited longer than the next one is due has nothing to add.
            "options": {"expires": settings.SWEEP_INTERVAL_S * 2},
        },
        # A version comes into force with the commit of this; one that is not due costs one query.
        "activate-scheduled": {"task": "pricing.tasks.activate_scheduled", "schedule": 5, "options": {"expires": 10}},
        "expire-grants": {"task": "billing.tasks.expire_grants", "schedule": 60, "options": {"expires": 60}},
        # All day, because it waits for transactions from before midnight, and a worker may start late; once the anchor
        # is there it costs one query.
        "anchor-ledger": {"task": "billing.tasks.anchor_ledger", "schedule": crontab(minute="7,27,47")},
        "compare-costs": {"task": "billing.tasks.compare_costs", "schedule": crontab(hour=0, minute=41)},
        # What waits a little longer costs reports the reading of a few more events, and nothing else.
        "roll-up-usage": {"task": "billing.tasks.roll_up_usage", "schedule": 300, "options": {"expires": 300}},
        "check-usage-rollup": {"task": "billing.tasks.check_usage_rollup", "schedule": crontab(hour=2, minute=29)},
        "deliver-alerts": {
            "task": "billing.alerts.tasks.deliver_alerts",
            "schedule": 30,
            "options": {"expires": 30},
        },
        "alert-expiring": {
            "task": "billing.alerts.tasks.alert_expiring",
            "schedule": 3_600,
            "options": {"expires": 3_600},
        },
        # For one whose message was lost, or whose worker died.
        "run-simulations": {
            "task": "billing.simulating.tasks.run_simulations",
            "schedule": 60,
            "options": {"expires": 60},
        },
        # For those whose message was lost, or whose worker died.
        "parse-uploads": {
            "task": "files.tasks.parse_uploads",
            "schedule": settings.SWEEP_INTERVAL_S,
            "options": {"expires": settings.SWEEP_INTERVAL_S * 2},
        },
        "remove-orphans": {"task": "files.tasks.remove_orphans", "schedule": crontab(hour=4, minute=23)},
        "check-ledger": {"task": "billing.tasks.check_ledger", "schedule": crontab(hour=3, minute=17)},
    },
)
app.autodiscover_tasks(["pricing", "billing", "billing.alerts", "billing.simulating", "files", "sessions_app"])


@signals.celeryd_init.connect  # type: ignore[untyped-decorator]
def _join_metrics(**_: object) -> None:
    """Before there is any work. Other commands of Celery's count nothing, so only a worker joins."""
    metrics.join("worker")


@signals.worker_init.connect  # type: ignore[untyped-decorator]
def _start_observing(**_: object) -> None:
    from config.metrics_port import serve_metrics
    from pricing import cache

    raise_open_files_limit()
    tracing.start("worker", version=settings.VERSION)
    serve_metrics(settings.WORKER_METRICS_PORT)
    cache.start_listener()


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _drain_turns(**_: object) -> None:
    """At once, and in a thread: the worker itself waits for its tasks, which end with their turns and files."""
    if (parse_work := sys.modules.get("files.parse_work")) is not None:
        parse_work.stop()
    if (simulations := sys.modules.get("billing.simulating.runs")) is not None:
        simulations.stop()
    worker_loop = sys.modules.get("sessions_app.turns.worker_loop")
    # Not imported: no turn has ever run here.
    if worker_loop is not None:
        threading.Thread(target=worker_loop.drain, name="drain", daemon=True).start()


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]
def _stop_observing(**_: object) -> None:
    from pricing import cache

    cache.stop_listener()
    tracing.stop()


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def _start_sweeping(sender: Any = None, **_: object) -> None:
    """What was left behind by processes that died. A worker with beat does it on time, in a thread of its own."""
    from sessions_app.sweeping import start_sweeping
    from sessions_app.tasks import settle_interrupted

    if getattr(getattr(sender, "controller", None), "beat", None) is not None:
        start_sweeping()
    else:
        settle_interrupted.delay()
