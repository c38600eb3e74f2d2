"""`make run`: web and worker on the embedded services, with what is needed to try them out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.embedded import processes, seeding
from config.embedded.api_client import ApiClient, sign_in
from config.embedded.errors import EmbeddedError, Interrupted
from config.embedded.paths import current_data_folder, persisted_secret
from config.embedded.ports import LOOPBACK, is_free
from config.embedded.signals import ReceivedSignals
from config.embedded.web_process import running_web, running_worker, wait_until_live

POLL_S = 0.2

WELCOME = """
Tallyroom is running; Ctrl-C stops it.

  API docs   {base_url}/api/v1/docs
  Admin      {base_url}/admin/
  Health     {base_url}/api/v1/health
  Logs       {folder}/*.log

  Staff      {staff_email}  password {staff_password}
  User       {user_email}  token {token}
             password {user_password}

Talk to two agents, in another terminal:

TALLYROOM_TOKEN={token} \\
  .venv/bin/python manage.py chat --url {base_url}

A turn of two agents:

curl -sS -X POST {base_url}/api/v1/sessions/{session_id}/turns \\
  -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' \\
  -d '{{"message": "Should a small team write down how it decides?", "max_output_tokens": 80}}'
"""


class Command(BaseCommand):
    help = "Run web and worker until stopped; started by `make run`."
    requires_system_checks: list[str] = []

    def handle(self, *_args: Any, **_options: Any) -> None:
        signals = ReceivedSignals()
        try:
            run(current_data_folder(), chosen_port(), signals)
        except EmbeddedError as error:
            raise CommandError(str(error)) from None
        except Interrupted as interruption:
            sys.exit(interruption.exit_code)


def chosen_port() -> int:
    text = os.environ.get("PORT") or "8000"
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise EmbeddedError(f"PORT={text} is not a port")
    if not is_free(int(text)):
        raise EmbeddedError(f"port {text} is in use: choose another with `make run PORT=`")
    return int(text)


def run(folder: Path, port: int, signals: ReceivedSignals) -> None:
    base_url = f"http://{LOOPBACK}:{port}"
    staff_password, user_password = (persisted_secret(folder, f"{who}_password") for who in ("staff", "user"))
    seeding.migrate()
    logs = {"web": folder / "web.log", "worker": folder / "worker.log"}
    with running_worker(log=logs["worker"]) as worker, running_web(port, log=logs["web"]) as web:
        seeding.ensure_people(staff_password=staff_password, user_password=user_password)
        wait_until_live(base_url, web, log=logs["web"])
        with ApiClient(base_url, sign_in(base_url, seeding.STAFF_EMAIL, staff_password)) as admin:
            seeding.price_local_model(admin)
        token = sign_in(base_url, seeding.USER_EMAIL, user_password)
        with ApiClient(base_url, token) as user:
            session_id = seeding.make_session(user, seeding.ensure_agents(user))
        sys.stdout.write(
            WELCOME.format(
                base_url=base_url,
                folder=folder,
                staff_email=seeding.STAFF_EMAIL,
                staff_password=staff_password,
                user_email=seeding.USER_EMAIL,
                user_password=user_password,
                token=token,
                session_id=session_id,
            )
        )
        sys.stdout.flush()
        watch({"web": web, "worker": worker}, logs, signals)


def watch(children: Mapping[str, subprocess.Popen[bytes]], logs: Mapping[str, Path], signals: ReceivedSignals) -> None:
    """Until a signal comes or a process ends: half a system is worse than none."""
    while True:
        for name, process in children.items():
            if process.poll() is not None:
                raise EmbeddedError(f"the {name} process ended:\n{processes.last_lines(logs[name])}")
        signals.pause(POLL_S)
