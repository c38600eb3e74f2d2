"""Time every page, and write down the plans of what they ask. Ends with 1 where a page's median is over a second."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import django
from tqdm import tqdm

SLOW_MS = 1000
PERSON = "measuring@example.com"


def main() -> int:
    arguments = _arguments()
    os.environ |= {"DEBUG": "0", "LOG_LEVEL": "WARNING"}
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from bench.staff_pages.pages import GROUPS, every_page
    from bench.staff_pages.timing import timed

    browser, rest, staff = _clients()
    pages = [page for page in every_page(browser, staff) if arguments.only in f"{page.group}: {page.name}"]
    pages.sort(key=lambda page: GROUPS.index(page.group))
    found = [
        (page, timed(rest if page.group == "REST" else browser, page.path, times=arguments.times))
        for page in tqdm(pages, desc="pages", unit=" pages")
    ]
    _show(found)
    if arguments.plans:
        _write(arguments.plans, found)
    slow = [(page, ms) for page, ms in found if ms.median > SLOW_MS]
    print(f"{len(found)} pages, {len(slow)} of them over a second")  # noqa: T201
    return int(bool(slow))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.staff_pages", description=__doc__)
    parser.add_argument("--times", type=int, default=7, help="how often each page is opened")
    parser.add_argument("--only", default="", help="pages whose name has this in it")
    parser.add_argument("--plans", type=Path, help="where to write the plans, as Markdown")
    return parser.parse_args()


def _clients() -> tuple[Any, Any, Any]:
    """A browser and a REST client of one member of staff, who is made if there is none."""
    from django.conf import settings
    from django.core.management import call_command
    from django.test import Client
    from rest_framework.test import APIClient

    from users.models import User

    settings.ALLOWED_HOSTS = ["testserver"]
    call_command("collectstatic", interactive=False, verbosity=0)
    staff = User.objects.filter(email=PERSON).first() or User.objects.create_superuser(email=PERSON, password=None)
    browser, rest = Client(), APIClient()
    browser.force_login(staff)
    rest.force_authenticate(staff)
    return browser, rest, staff


def _show(found: Sequence[Any]) -> None:
    from bench.staff_pages.document import table

    for group, pages in groupby(found, key=lambda one: one[0].group):
        print(f"\n{group}\n", *table(list(pages)), sep="\n")  # noqa: T201


def _write(path: Path, found: Sequence[Any]) -> None:
    from bench.staff_pages.document import document

    path.write_text(document(found, facts=_facts()))


def _facts() -> dict[str, Any]:
    from django.db import connection

    from billing.models import LLMCallEvent

    tables = ("users", "turns", "credit_transactions", "credit_allocations", "usage_rollups", "usage_rollup_months")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, reltuples::bigint FROM pg_class WHERE relname = ANY(%s) AND relkind = 'r'", [[*tables]]
        )
        rows = dict(cursor.fetchall())
        cursor.execute("SHOW server_version")
        (postgres,) = cursor.fetchone()
    return {
        "events": LLMCallEvent.objects.count(),
        "rows": ", ".join(f"{rows[name]:,} `{name}`" for name in tables),
        "cores": os.cpu_count(), "load": os.getloadavg()[0], "postgres": postgres,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
