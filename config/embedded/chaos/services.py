"""What runs: the supervisor's PostgreSQL and Redis, two web processes and a worker of ours."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import psycopg
import redis
from django.conf import settings

from config.embedded.chaos.provider import ChaosProvider
from config.embedded.chaos.servers import ProgramProcess, RestartableServer, web_command, worker_command
from config.embedded.paths import bundled_redis_server, persisted_secret
from config.embedded.ports import LOOPBACK, free_port
from config.embedded.postgres import SERVER_ENVIRONMENT

LEASE_S = 3
SWEEP_S = 1
HOLD_TTL_S = 30
WEB_PROCESSES = 2
WORKER_THREADS = 16


class Services:
    """Everything that can be killed."""

    def __init__(self, folder: Path, provider: ChaosProvider) -> None:
        self._provider = provider
        self._secret = persisted_secret(folder, "secret_key")
        for log in folder.glob("*-[0-9]*.log"):
            log.unlink()
        ports = [free_port() for _ in range(WEB_PROCESSES)]
        self.addresses = [f"http://{LOOPBACK}:{port}" for port in ports]
        self.postgresql = _postgresql(folder)
        self.redis = _redis(folder)
        self.webs = [
            ProgramProcess(f"web-{number}", web_command(port), folder=folder, environment=self._environment)
            for number, port in enumerate(ports, start=1)
        ]
        command = worker_command(WORKER_THREADS)
        self.worker = ProgramProcess("worker", command, folder=folder, environment=self._environment)

    def _environment(self, life: str) -> Mapping[str, str]:
        return {
            **os.environ,
            "DEBUG": "0",
            "SECRET_KEY": self._secret,
            "LOG_LEVEL": "WARNING",
            "CREDIT_ENFORCEMENT": "hard",
            "DATABASE_POOL_SIZE": "8",
            "DRAIN_TIMEOUT_S": "1",
            "TURN_LEASE_S": str(LEASE_S),
            "SWEEP_INTERVAL_S": str(SWEEP_S),
            "HOLD_TTL_S": str(HOLD_TTL_S),
            "LLM_PROVIDERS": "",
            "LLM_BASE_URL": self._provider.address_for(life),
            "LLM_API_KEY": "scripted",
        }

    def start_programs(self) -> None:
        for program in (*self.webs, self.worker):
            program.start()

    def stop_programs(self) -> None:
        for program in (*self.webs, self.worker):
            program.ask_to_stop()
        for program in (*self.webs, self.worker):
            program.stop()

    def stop(self) -> None:
        self.stop_programs()
        self.redis.stop()
        self.postgresql.stop()


def _postgresql(folder: Path) -> RestartableServer:
    pid_file = (folder / "postgres").resolve() / "cluster" / "postmaster.pid"
    return RestartableServer(
        "postgresql",
        pid=int(pid_file.read_text().split("\n", 1)[0]),
        pid_file=pid_file,
        env=SERVER_ENVIRONMENT,
        log=folder / "postgres-restarted.log",
        answers=postgresql_answers,
        stop_signal=signal.SIGINT,
    )


def postgresql_answers() -> bool:
    try:
        with psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


def _redis(folder: Path) -> RestartableServer:
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        pid = int(client.info("server")["process_id"])
    return RestartableServer(
        "redis",
        pid=pid,
        command=[bundled_redis_server(), folder / "redis.conf"],
        log=folder / "redis-restarted.log",
        answers=redis_answers,
        stop_signal=signal.SIGTERM,
    )


def redis_answers() -> bool:
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False
