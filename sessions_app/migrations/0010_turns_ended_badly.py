from __future__ import annotations

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("sessions_app", "0009_turns_by_user"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="turn",
            index=models.Index(
                condition=models.Q(("status__in", ["failed", "interrupted", "cancelled", "partial"])),
                fields=["finished_at", "status"],
                include=("id", "user_id"),
                name="turn_ended_badly",
            ),
        ),
        RemoveIndexConcurrently(model_name="turn", name="turn_ended_otherwise"),
    ]
