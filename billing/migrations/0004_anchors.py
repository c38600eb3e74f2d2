from __future__ import annotations

import django.db.models.functions.datetime
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models

import config.core.ids


class Migration(migrations.Migration):
    dependencies = [("billing", "0003_alerts")]

    operations = [
        migrations.AddField(
            model_name='ledgercheck',
            name='entries_checked',
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.CreateModel(
            name='LedgerCheckpoint',
            fields=[
                ('wallet_id', models.UUIDField(primary_key=True, serialize=False)),
                ('seq', models.BigIntegerField()),
                ('entry_hash', models.CharField(max_length=64)),
                ('balance', models.DecimalField(decimal_places=8, max_digits=18)),
                ('events_until', models.DateTimeField(null=True)),
                ('wallet_updated_at', models.DateTimeField()),
                ('checked_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'db_table': 'ledger_checkpoints',
            },
        ),
        migrations.CreateModel(
            name='LedgerAnchor',
            fields=[
                ('id', models.UUIDField(default=config.core.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('as_of', models.DateTimeField(unique=True)),
                ('wallets', models.BigIntegerField()),
                ('entries', models.BigIntegerField()),
                ('anchor_hash', models.CharField(max_length=64)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'db_table': 'ledger_anchors',
            },
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='ledgeranchor',
            trigger=pgtrigger.compiler.Trigger(name='append_only', sql=pgtrigger.compiler.UpsertTriggerSql(func="RAISE EXCEPTION 'pgtrigger: Cannot update or delete rows from % table', TG_TABLE_NAME;", hash='f6b93652729c8c02cb9dea75a263cd630c766af1', operation='UPDATE OR DELETE', pgid='pgtrigger_append_only_e514b', table='ledger_anchors', when='BEFORE')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='ledgeranchor',
            trigger=pgtrigger.compiler.Trigger(name='never_truncated', sql=pgtrigger.compiler.UpsertTriggerSql(func="RAISE EXCEPTION 'L4: Cannot truncate the append-only table %', TG_TABLE_NAME;", hash='b43127ae0a574a2a8fd0ce97face95a7ea9b0a0a', level='STATEMENT', operation='TRUNCATE', pgid='pgtrigger_never_truncated_134b7', table='ledger_anchors', when='BEFORE')),
        ),
    ]
