"""A web process does not stop at the usual limit of open files, which is half as many streams."""

from __future__ import annotations

import resource

import pytest

from config.core.open_files import WANTED
from sessions_app.tests.e2e.servers import WebProcess

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("committed")]


def test_a_web_process_raises_its_limit_of_open_files_as_far_as_it_may():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    web = WebProcess(LLM_BASE_URL="http://127.0.0.1:1/v1")
    web.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard)))
    try:
        web.wait()
        assert web.process is not None
        allowed = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
        assert resource.prlimit(web.process.pid, resource.RLIMIT_NOFILE) == (allowed, hard)
    finally:
        web.stop()
