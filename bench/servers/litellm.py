"""The LiteLLM proxy, the yardstick of turns: one worker, no database, in a virtual environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.servers.process import Server, running
from config.embedded.paths import REPOSITORY
from config.embedded.ports import LOOPBACK, free_port
from config.embedded.progress import say, step

VERSION = "1.108.7"
VENV = REPOSITORY / ".bench-venv"
PROGRAM = VENV / "bin" / "litellm"
CALLER = "litellm"
KEY = "sk-bench"
INSTALL_TIMEOUT_S = 600
_CONFIG = """\
model_list:
  - model_name: bench
    litellm_params:
      model: openai/bench
      api_base: {upstream}/{caller}/v1
      api_key: bench
general_settings:
  master_key: {key}
"""


def version() -> str | None:
    """The version that is installed, whoever installed it."""
    for found in VENV.glob("lib/python3*/site-packages/litellm-*.dist-info"):
        return found.name.removeprefix("litellm-").removesuffix(".dist-info")
    return None


def install() -> bool:
    """Whether it is there afterwards. Nothing that is measured of ours depends on it."""
    if PROGRAM.exists():
        return True
    try:
        with step(f"installing LiteLLM {VERSION} into {VENV.name}"):
            _run([sys.executable, "-m", "venv", str(VENV)])
            _run(
                [
                    str(VENV / "bin" / "python"),
                    "-m",
                    "pip",
                    "install",
                    "-q",
                    "--retries",
                    "1",
                    f"litellm[proxy]=={VERSION}",
                ]
            )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError):
        say("LiteLLM could not be installed: the bare upstream is the only yardstick of turns.")
    return PROGRAM.exists()


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, timeout=INSTALL_TIMEOUT_S, capture_output=True)


@contextmanager
def running_litellm(folder: Path, *, upstream: str) -> Iterator[Server]:
    port = free_port()
    config = folder / "litellm.yaml"
    config.write_text(_CONFIG.format(upstream=upstream, caller=CALLER, key=KEY))
    command: list[str | Path] = [
        PROGRAM,
        "--config",
        config,
        "--host",
        LOOPBACK,
        "--port",
        str(port),
        "--num_workers",
        "1",
    ]
    # Its own environment, not our settings; and its own list of prices, not the one that it would fetch.
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "NO_PROXY": "127.0.0.1",
    }
    address = f"http://{LOOPBACK}:{port}"
    with running(command, address=address, log=folder / "litellm.log", env=env) as server:
        server.wait_for("/health/liveliness")
        yield server
