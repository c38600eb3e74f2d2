"""Calls of tools belong to billing from here on: what they cost has debits. The table and its rows stay where they are."""

import django.db.models.deletion
from django.db import migrations, models

# Of each call the prices that its turn is pinned to; it was free at them.
_PIN = """
UPDATE tool_call_events e SET pricing_version = t.pricing_version, pricing_revision = t.pricing_revision
  FROM turns t WHERE t.id = e.turn_id"""


class Migration(migrations.Migration):

    dependencies = [
        ('sessions_app', '0006_turn_error_members'),
    ]
    run_before = [
        ('billing', '0008_tool_calls'),
    ]

    operations = [
        migrations.AlterField(
            model_name='toolcallevent',
            name='turn',
            field=models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='sessions_app.turn'),
        ),
        migrations.AddField(
            model_name='toolcallevent',
            name='api_key_id',
            field=models.UUIDField(null=True),
        ),
        migrations.AddField(
            model_name='toolcallevent',
            name='pricing_version',
            field=models.CharField(default='', max_length=64),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='toolcallevent',
            name='pricing_revision',
            field=models.IntegerField(default=1),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='toolcallevent',
            name='credits_burned',
            field=models.DecimalField(decimal_places=4, default=0, max_digits=20),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='toolcallevent',
            name='credits_charged',
            field=models.DecimalField(db_default=0, decimal_places=8, default=0, max_digits=18),
        ),
        migrations.AlterField(
            model_name='toolcallevent',
            name='created_at',
            field=models.DateTimeField(),
        ),
        migrations.RunSQL(_PIN, migrations.RunSQL.noop),
        migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel(name='ToolCallEvent')]),
    ]
