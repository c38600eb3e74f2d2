"""Our web processes, as `make serve` starts them: production settings, and nothing switched off."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.servers.process import Server, running
from config.embedded.chaos.servers import web_command
from config.embedded.paths import persisted_secret
from config.embedded.ports import LOOPBACK, free_port
from config.embedded.supervisor import RATE_LIMITS
from config.embedded.web_process import POOL_SIZE

# The upstream counts our calls under this name.
OURS = "ours"
# The upstream of processes that call none.
NOBODY = "http://127.0.0.1:9"
# The most that may be set: they refuse nobody here, and count every turn.
RATE_LIMIT = "100000"


def environment(folder: Path, *, upstream: str, database_url: str | None = None) -> Mapping[str, str]:
    """What a deployment would set."""
    return {
        **os.environ,
        **dict.fromkeys(RATE_LIMITS, RATE_LIMIT),
        "DATABASE_URL": database_url or os.environ["DATABASE_URL"],
        "DATABASE_POOL_SIZE": POOL_SIZE,
        "DEBUG": "0",
        "SECRET_KEY": persisted_secret(folder, "secret_key"),
        "LOG_LEVEL": "INFO",
        "LOG_FORMAT": "json",
        "CREDIT_ENFORCEMENT": "hard",
        "DRAIN_TIMEOUT_S": "10",
        "LLM_PROVIDERS": "",
        "LLM_BASE_URL": f"{upstream}/{OURS}/v1",
        "LLM_API_KEY": "bench",
    }


@contextmanager
def running_webs(count: int, folder: Path, *, upstream: str, database_url: str | None = None) -> Iterator[list[Server]]:
    """So many web processes, ready to be asked."""
    env = environment(folder, upstream=upstream, database_url=database_url)
    with ExitStack() as stack:
        servers = []
        for number in range(1, count + 1):
            port = free_port()
            command = [sys.executable, "-m", *web_command(port)]
            log = folder / f"bench-web-{number}.log"
            servers.append(stack.enter_context(running(command, address=f"http://{LOOPBACK}:{port}", log=log, env=env)))
        for server in servers:
            server.wait_for("/api/v1/health/live")
        yield servers
