"""jsonb in rows that are read by hand. Django leaves it as text, because its own JSONField decodes it."""

from __future__ import annotations

import json
from typing import Any


def decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
