"""The ASGI application: Django, with a start and an end around it and a limit on JSON bodies before it.

Django has no lifespan of its own. At the start the graph is compiled, the price listener runs and lost turns are ended;
at the end running turns are drained, because a server that stops drops detached tasks in silence.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.core.asgi import get_asgi_application

from config.core import metrics

metrics.join("web")
_pages: Any = get_asgi_application()

import config.celery  # noqa: E402, F401 - background turns are sent through this app
from config.core.api_handler import ApiHandler, ApiOrPages  # noqa: E402
from config.core.body_limit import BodyLimit  # noqa: E402 - apps must be ready first
from config.lifespan import Lifespan  # noqa: E402

_api: Any = ApiHandler()
application = Lifespan(BodyLimit(ApiOrPages(api=_api, pages=_pages)))
