"""Metrics: how they are made, where their numbers live, and how they are gathered for a scrape.

A process that serves calls `join` when it starts. From then on its numbers lie in files of a folder that it shares
with the other processes of this service on this machine (`metrics_folder`), and each of them shows the sums of all.
Where nobody joined, as in tests and management commands, they stay in the process's own memory.

Labels are few and known beforehand: never an id, never text that a caller chose.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import structlog
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, values
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from config.core.metrics_folder import MetricsFolder, process_metrics

__all__ = ["Counter", "Gauge", "Histogram", "counter", "gathered", "gauge", "histogram", "join", "word"]

log = structlog.get_logger(__name__)
PREFIX = "tallyroom_"
OTHER = "other"
_WORD = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")

# prometheus_client would write files as soon as it is imported under PROMETHEUS_MULTIPROC_DIR, one set for each process
# id there ever was, and so would every management command. Here `join` decides that.
values.ValueClass = values.MutexValue
disable_created_metrics()  # type: ignore[no-untyped-call]
_registry = CollectorRegistry()
_folder: MetricsFolder | None = None
_made: list[Counter | Gauge | Histogram] = []


def counter(name: str, documentation: str, labels: Sequence[str] = ()) -> Counter:
    """`name` ends in `_total`."""
    made = Counter(PREFIX + name, documentation, labels, registry=_registry)
    _made.append(made)
    return made


def gauge(name: str, documentation: str, labels: Sequence[str] = ()) -> Gauge:
    """The sum over the processes that live."""
    made = Gauge(PREFIX + name, documentation, labels, registry=_registry, multiprocess_mode="livesum")
    _made.append(made)
    return made


def histogram(name: str, documentation: str, labels: Sequence[str] = (), *, buckets: Sequence[float]) -> Histogram:
    made = Histogram(PREFIX + name, documentation, labels, registry=_registry, buckets=buckets)
    _made.append(made)
    return made


def word(text: str) -> str:
    """A label's value that comes from a list of ours. Whatever does not look like one is `other`."""
    return text if _WORD.fullmatch(text) else OTHER


def join(role: str) -> None:
    """Share this process's numbers from now on. What it counted before is forgotten: call it before there is any work.

    Raises: ImproperlyConfigured where the folder that the operator named cannot be used. A default one that cannot be
    written to is no reason not to serve: then this process shows its own numbers only.
    """
    global _folder  # noqa: PLW0603 - a process joins once
    if _folder is not None:
        return
    folder = MetricsFolder(Path(settings.METRICS_DIR))
    try:
        folder.join(role)
    except OSError as error:
        if settings.METRICS_DIR_IS_CHOSEN:
            raise ImproperlyConfigured(f"PROMETHEUS_MULTIPROC_DIR: cannot be used: {error}") from None
        log.warning("metrics_not_shared", error=str(error))
        return
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder.path)
    values.ValueClass = values.MultiProcessValue(folder.own_slot)  # type: ignore[no-untyped-call]
    _folder = folder
    for metric in _made:
        _make_anew(metric)


def _make_anew(metric: Counter | Gauge | Histogram) -> None:
    """Give a metric that was made before `join` its numbers in the folder.

    Celery imports the tasks, and with them all metrics, before it says that this is a worker.
    """
    if metric._labelnames:
        metric._metrics.clear()
    else:
        metric._metric_init()


class _Gathered(Collector):
    def collect(self) -> Iterable[Metric]:
        if _folder is None:
            return [*_registry.collect(), *process_metrics([])]
        try:
            return list(_folder.collect())
        except OSError as error:
            # Somebody cleaned up. What the database says is worth a scrape all the same.
            log.warning("metrics_folder_unreadable", error=str(error))
            return []


def gathered(*others: Collector) -> CollectorRegistry:
    """A registry for one scrape: what the processes counted, and what `others` find out now."""
    registry = CollectorRegistry(auto_describe=False)
    for collector in (_Gathered(), *others):
        registry.register(collector)
    return registry
