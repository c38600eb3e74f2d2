"""A bulk grant as a page that is written while it is done: how far it is, and at its end what was done.

It needs no worker and no script, and stores nothing of the list. Bytes that flow keep proxies from ending the answer.
It ends when its reader goes away or its process dies; the page then has the button that goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import structlog
from django.http import StreamingHttpResponse
from django.template.loader import render_to_string
from django.utils.safestring import mark_safe

from billing.bulk.performing import Run
from billing.bulk.planning import counted
from config.core.transactions import DATABASE_ERRORS, in_thread, patiently

log = structlog.get_logger(__name__)
# Where the page is cut in two. Not of what staff have written: that is escaped.
MARK = mark_safe("<!-- progress -->")  # noqa: S308 - a constant
# How long a database may be away before the page says that it stops.
PATIENCE_S = 20.0
_SO_FAR = (
    '<p><progress max="{total}" value="{done}" aria-label="Granted so far"></progress> {done:,} of {total:,}</p>\n'
)


def stream(run: Run, *, before: str, after: str) -> StreamingHttpResponse:
    response = StreamingHttpResponse(_pieces(run, before, after), content_type="text/html; charset=utf-8")
    response["Cache-Control"] = "no-store"
    # Nginx would gather the answer.
    response["X-Accel-Buffering"] = "no"
    return response


async def _pieces(run: Run, before: str, after: str) -> AsyncIterator[str]:
    is_summarised = False
    try:
        yield before + _so_far(run)
        try:
            while run.left:
                await patiently(run.step, patience_s=PATIENCE_S)
                yield _so_far(run)
            result = await in_thread(partial(_finished, run))
            is_summarised = True
        except DATABASE_ERRORS as error:
            log.warning("bulk_grant_stopped", campaign=run.campaign.name, left=run.left, error=str(error))
            result, is_summarised = _result(run), True
        yield result
        yield after
    finally:
        if not is_summarised:
            # The reader went away.
            await asyncio.shield(in_thread(run.summarise))


def _so_far(run: Run) -> str:
    return _SO_FAR.format(total=run.total, done=run.total - run.left)


def _finished(run: Run) -> str:
    run.summarise()
    return _result(run)


def _result(run: Run) -> str:
    context = {"rows": run.rows, "counts": counted(run.rows), "left": run.left, "failed": run.count("failed")}
    return render_to_string("admin/billing/bulk/result.html", {**context, "step": "done"})
