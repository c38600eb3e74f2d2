from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models.functions import Collate, Lower


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("users", "0002_api_keys"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="user",
            index=models.Index(Collate(Lower("email"), "C"), name="user_email_prefix"),
        ),
    ]
