from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("sessions_app", "0008_turns_ended_otherwise"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="turn",
            index=models.Index(fields=["user_id", "id"], name="turn_user_newest"),
        ),
    ]
