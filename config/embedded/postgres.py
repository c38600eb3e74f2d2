"""PostgreSQL from the wheel, with our own settings."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from config.embedded import processes
from config.embedded.errors import EmbeddedError
from config.embedded.paths import bundled_postgres, persisted_secret
from config.embedded.ports import LOOPBACK, free_port
from config.embedded.postgres_home import PostgresHome, find_home
from config.embedded.service import Service

DATABASE = USER = "tallyroom"
# Nothing of the caller's PG* variables or locale may reach the server.
SERVER_ENVIRONMENT = {"LANG": "C", "PATH": os.defpath}
LOG_LINE_PREFIX = "%m [%p] %a@%d "


class Postgres(Service):
    title = "PostgreSQL"
    # Fast shutdown, immediate shutdown, and what cannot be refused.
    stop_signals = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)

    def __init__(self, folder: Path, *, is_durable: bool) -> None:
        super().__init__(folder)
        self._is_durable = is_durable
        self._port = 0
        self._password = ""

    @property
    def log(self) -> Path:
        return self.folder / "postgres.log"

    def start(self) -> None:
        home = find_home(self.folder)
        cluster = home.data / "cluster"
        self._password = persisted_secret(self.folder, "postgres_password")
        stop_orphan(cluster)
        if not cluster.exists():
            self._initialise(home, cluster)
        self._port = free_port()
        self.process = processes.spawn(
            [home.install / "bin" / "postgres", "-D", cluster, *self._settings()],
            log=self.log,
            folder=cluster,
            env=SERVER_ENVIRONMENT,
            identity=home.identity,
            death_signal=signal.SIGINT,
        )

    def _settings(self) -> list[str]:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self._port),
            # No socket file: its path may hold 107 bytes, and a checkout's may be longer.
            "unix_socket_directories": "",
            "max_connections": "200",
            "logging_collector": "off",
            "log_line_prefix": LOG_LINE_PREFIX,
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self._is_durable:
            # Tests throw their databases away: losing one with the machine costs nothing, and each commit is faster.
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _initialise(self, home: PostgresHome, cluster: Path) -> None:
        """Make the cluster aside and rename it, so that an interrupted start never leaves half a cluster."""
        for unfinished in home.data.glob("new-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        aside = Path(tempfile.mkdtemp(prefix="new-", dir=home.data))
        with tempfile.NamedTemporaryFile("w", dir=home.data) as password_file:
            password_file.write(self._password)
            password_file.flush()
            if home.identity is not None:
                os.chown(aside, home.identity.uid, home.identity.gid)
                os.fchown(password_file.fileno(), home.identity.uid, home.identity.gid)
            initdb = processes.spawn(
                [
                    *(home.install / "bin" / "initdb", "-D", aside, "-U", USER, "--pwfile", password_file.name),
                    *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"),
                    *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
                    # The files are new and the rename comes last: syncing them one by one takes seconds for nothing.
                    "--no-sync",
                ],
                log=self.log,
                folder=home.data,
                env=SERVER_ENVIRONMENT,
                identity=home.identity,
                death_signal=signal.SIGKILL,
            )
            if initdb.wait() != 0:
                raise EmbeddedError(f"PostgreSQL could not be set up:\n{processes.last_lines(self.log)}")
        aside.rename(cluster)

    def is_ready(self) -> bool:
        try:
            with psycopg.connect(self._url("postgres"), connect_timeout=2, autocommit=True) as connection:
                found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
                if not found:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        except psycopg.errors.InvalidPassword:
            raise EmbeddedError(f"the password of the database in {self.folder} is lost: remove the folder") from None
        except psycopg.OperationalError:
            return False
        return True

    def environment(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self._url(DATABASE),
            "TALLYROOM_PG_BIN": str(bundled_postgres() / "bin"),
            "TALLYROOM_PG_LOG": str(self.log),
        }

    def _url(self, database: str) -> str:
        return f"postgresql://{USER}:{self._password}@{LOOPBACK}:{self._port}/{database}"


def stop_orphan(cluster: Path) -> None:
    """Stop the server that a killed supervisor left on this cluster, and remove its pid file.

    The pid in the file may be another program's by now, over which PostgreSQL itself would refuse to start.
    """
    pid_file = cluster / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        pid_file.unlink(missing_ok=True)
        return
    try:
        server = psutil.Process(pid)
        is_ours = "postgres" in server.name() and str(cluster) in server.cmdline()
        for signum in Postgres.stop_signals if is_ours else ():
            server.send_signal(signum)
            _, alive = psutil.wait_procs([server], timeout=processes.GRACE_S)
            if not alive:
                break
    except psutil.NoSuchProcess:
        pass  # It has just ended, as wanted.
    pid_file.unlink(missing_ok=True)
