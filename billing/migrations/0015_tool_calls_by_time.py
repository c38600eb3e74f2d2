from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("billing", "0014_price_simulations"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="toolcallevent",
            index=models.Index(
                fields=["created_at"], condition=models.Q(status="success"), name="tool_calls_succeeded"
            ),
        ),
    ]
