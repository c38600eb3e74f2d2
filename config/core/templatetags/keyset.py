"""Links to the pages beside the one that is shown."""

from __future__ import annotations

from typing import Any

from django import template

register = template.Library()


@register.simple_tag
def keyset_query(cl: Any, side: str, row: str) -> str:
    """The query string of this list as it is, with the page on that side of a row."""
    return str(cl.get_query_string({side: row}))
