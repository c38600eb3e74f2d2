from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("billing", "0011_charged_tool_calls"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="alert",
            index=models.Index(fields=["user_id", "id"], name="alert_user_newest"),
        ),
    ]
