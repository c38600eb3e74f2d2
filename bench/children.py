"""Python processes of this project on another database, which say what came of it as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from config.embedded.errors import EmbeddedError
from config.embedded.paths import REPOSITORY


def run(module: str, *arguments: str, env: Mapping[str, str]) -> Any:
    """The last line that it prints. Its progress goes where ours goes."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, env=dict(env), cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise EmbeddedError(f"{module} ended with {done.returncode}:\n{done.stdout[-2_000:]}")
    return json.loads(done.stdout.splitlines()[-1])
