"""A history of many calls, and who may read of it.

python -m bench.benches.history 1000000        # events, in the empty database that DATABASE_URL names
"""

from __future__ import annotations

import json
import sys
from io import StringIO
from typing import Any

import django

EVENTS_PER_USER = 100


def make(events: int) -> dict[str, Any]:
    """Rolled up, as the beat would have done. The reader is whoever called most, and a member of staff."""
    from django.core.management import call_command
    from django.utils import timezone
    from knox.models import AuthToken

    from config.embedded.big_history import making
    from pricing import cache
    from users.models import User

    cache.reload_pricing_cache()
    # Reports read events and what was rolled up of them, and no ledger.
    made = making.make(events=events, users=events // EVENTS_PER_USER, now=timezone.now(), with_ledgers=False)
    call_command("roll_up_usage", stdout=StringIO())
    user_id, of_user = _most_active()
    _, user_token = AuthToken.objects.create(User.objects.get(pk=user_id))
    _, staff_token = AuthToken.objects.create(User.objects.create_superuser(email="staff@example.com"))
    return {"events": made, "events_of_user": of_user, "user_token": user_token, "staff_token": staff_token}


def _most_active() -> Any:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT user_id, count(*) FROM llm_call_events GROUP BY 1 ORDER BY 2 DESC LIMIT 1")
        return cursor.fetchone()


if __name__ == "__main__":
    django.setup()
    sys.stdout.write(json.dumps(make(int(sys.argv[1]))) + "\n")
