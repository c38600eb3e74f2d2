"""A pytest plug-in: each process of a parallel run has a Redis database of its own.

They would take each other's background turns from the queue otherwise. It is a plug-in of the command line because
those are loaded before the settings.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit, urlunsplit

# "gw0", "gw1" … where pytest-xdist runs several; the first process, without one, keeps the database that it was given.
number = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
if number and os.environ.get("REDIS_URL"):
    os.environ["REDIS_URL"] = urlunsplit(urlsplit(os.environ["REDIS_URL"])._replace(path=f"/{int(number) + 1}"))
