"""`make bench`: measures, prints a table, and writes bench/results/latest.json. Exit 1 where a result was wrong.

BENCH_ONLY= names of rows or their beginnings, BENCH_SECONDS= of each run, BENCH_ROUNDS= of each bench, BENCH_BIG=1 for
ten million events, BENCH_LITELLM=0 without that yardstick.
"""

from __future__ import annotations

import os
import signal
import sys

import django


def main() -> int:
    django.setup()
    from bench.options import read_options
    from bench.run import run
    from config.embedded.errors import EmbeddedError
    from config.embedded.management.commands.demo import exit_at_once
    from config.embedded.paths import current_data_folder
    from config.embedded.terminal import Terminal

    signal.signal(signal.SIGTERM, exit_at_once)
    try:
        return 0 if run(read_options(os.environ), current_data_folder(), Terminal(sys.stdout)) else 1
    except (EmbeddedError, TimeoutError, ConnectionError) as error:
        sys.stderr.write(f"bench: {error or type(error).__name__}\n")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    sys.exit(main())
