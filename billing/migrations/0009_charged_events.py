"""What usage counts: every LLM call, and every tool call that cost something."""

from django.db import migrations, models

_VIEW = """
CREATE VIEW charged_events AS
SELECT id, user_id, room_id, session_id, turn_id, agent_id, api_key_id, purpose, model_alias, input_tokens_fresh,
       input_tokens_cached, input_tokens_cache_write, output_tokens, oe_tokens_computed, credits_burned,
       credits_charged, created_at
  FROM llm_call_events
 UNION ALL
SELECT id, user_id, room_id, session_id, turn_id, agent_id, api_key_id, 'tool'::varchar(16), ''::varchar(64), 0::bigint,
       0::bigint, 0::bigint, 0::bigint, 0::numeric(20,4), credits_burned, credits_charged, created_at
  FROM tool_call_events WHERE credits_charged > 0
"""


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0008_tool_calls'),
    ]

    operations = [
        migrations.RunSQL(_VIEW, "DROP VIEW charged_events"),
        migrations.CreateModel(
            name='ChargedEvent',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False)),
                ('user_id', models.UUIDField()),
                ('room_id', models.UUIDField(null=True)),
                ('session_id', models.UUIDField(null=True)),
                ('turn_id', models.UUIDField(null=True)),
                ('agent_id', models.UUIDField(null=True)),
                ('api_key_id', models.UUIDField(null=True)),
                ('purpose', models.CharField(max_length=16)),
                ('model_alias', models.CharField(max_length=64)),
                ('input_tokens_fresh', models.BigIntegerField()),
                ('input_tokens_cached', models.BigIntegerField()),
                ('input_tokens_cache_write', models.BigIntegerField()),
                ('output_tokens', models.BigIntegerField()),
                ('oe_tokens_computed', models.DecimalField(decimal_places=4, max_digits=20)),
                ('credits_burned', models.DecimalField(decimal_places=4, max_digits=20)),
                ('credits_charged', models.DecimalField(decimal_places=8, max_digits=18)),
                ('created_at', models.DateTimeField()),
            ],
            options={
                'db_table': 'charged_events',
                'managed': False,
                'default_permissions': (),
            },
        ),
    ]
