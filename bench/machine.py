"""What was measured on, and with what: numbers of two machines are not to be compared."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from typing import Any

import psutil
import psycopg
import redis
from django.conf import settings

from bench.servers import litellm
from config.embedded.paths import REPOSITORY, bundled_postgres

PACKAGES = ("django", "djangorestframework", "psycopg", "uvicorn", "uvloop", "httptools", "httpx", "langgraph")


def machine() -> dict[str, Any]:
    """All that tells one machine from another."""
    return {
        "system": platform.platform(terse=True),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_mb": psutil.virtual_memory().total // 2**20,
    }


def load_average() -> float:
    """Of the last minute. Above the number of cores before a run, it says that others will slow what is measured."""
    return round(os.getloadavg()[0], 2)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as cpuinfo:  # noqa: PTH123 - no file of ours
            return next(line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions() -> dict[str, str | None]:
    """Of the parts that are measured, and of the yardsticks; None for one that is not there."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        postgresql = connection.info.parameter_status("server_version")
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        redis_version = str(client.info("server")["redis_version"])
    return {
        "tallyroom": settings.VERSION,
        "commit": _said("git", "-C", str(REPOSITORY), "rev-parse", "--short", "HEAD"),
        "python": platform.python_version(),
        "postgresql": postgresql,
        "redis": redis_version,
        **{package: importlib.metadata.version(package) for package in PACKAGES},
        "litellm": litellm.version(),
        "pgbench": _said(str(bundled_postgres() / "bin" / "pgbench"), "--version"),
    }


def _said(*command: str) -> str | None:
    """The last word of what a program prints; None where it is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.split()[-1] if done.stdout.split() else None
