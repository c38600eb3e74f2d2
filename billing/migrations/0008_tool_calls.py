"""A debit is of a call of a model or of a tool. The table of tool calls is here already, as `sessions_app` has left it."""

import config.core.ids
import django.db.models.deletion
import pgtrigger.compiler
import pgtrigger.migrations
from decimal import Decimal
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0007_ledger_check_by_invariant'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(state_operations=[
            migrations.CreateModel(
                name='ToolCallEvent',
                fields=[
                    ('id', models.UUIDField(default=config.core.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                    ('user_id', models.UUIDField()),
                    ('room_id', models.UUIDField()),
                    ('session_id', models.UUIDField()),
                    ('turn_id', models.UUIDField()),
                    ('step_id', models.UUIDField()),
                    ('agent_id', models.UUIDField()),
                    ('api_key_id', models.UUIDField(null=True)),
                    ('agent_key', models.CharField(max_length=32)),
                    ('call_index', models.IntegerField()),
                    ('tool_name', models.CharField(max_length=64)),
                    ('arguments_hash', models.CharField(max_length=64)),
                    ('status', models.CharField(max_length=16)),
                    ('error_code', models.CharField(blank=True, default='', max_length=64)),
                    ('latency_ms', models.IntegerField()),
                    ('result_bytes', models.IntegerField()),
                    ('credits_burned', models.DecimalField(decimal_places=4, max_digits=20)),
                    ('credits_charged', models.DecimalField(db_default=0, decimal_places=8, default=0, max_digits=18)),
                    ('pricing_version', models.CharField(max_length=64)),
                    ('pricing_revision', models.IntegerField()),
                    ('called_at', models.DateTimeField()),
                    ('created_at', models.DateTimeField()),
                ],
                options={
                    'db_table': 'tool_call_events',
                },
            ),
            migrations.AddIndex(
                model_name='toolcallevent',
                index=models.Index(fields=['user_id', 'created_at'], name='tool_calls_by_user'),
            ),
            migrations.AddConstraint(
                model_name='toolcallevent',
                constraint=models.UniqueConstraint(fields=('turn_id', 'call_index'), name='tool_call_once_per_turn'),
            ),
        ]),
        pgtrigger.migrations.RemoveTrigger(
            model_name='llmcallevent',
            name='event_has_debit',
        ),
        # No foreign key leads to two tables; a trigger takes its place. Column, index and check stay as they are.
        migrations.AlterField(
            model_name='credittransaction',
            name='event',
            field=models.OneToOneField(db_constraint=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.llmcallevent'),
        ),
        migrations.SeparateDatabaseAndState(state_operations=[
            migrations.RemoveConstraint(
                model_name='credittransaction',
                name='entry_debit_has_event',
            ),
            migrations.RemoveField(
                model_name='credittransaction',
                name='event',
            ),
            migrations.AddField(
                model_name='credittransaction',
                name='event_id',
                field=models.UUIDField(null=True, unique=True),
            ),
            migrations.AddConstraint(
                model_name='credittransaction',
                constraint=models.CheckConstraint(condition=models.Q(models.Q(('event_id__isnull', False), ('kind', 'debit')), models.Q(models.Q(('kind', 'debit'), _negated=True), ('event_id__isnull', True)), _connector='OR'), name='entry_debit_has_event'),
            ),
        ]),
        pgtrigger.migrations.AddTrigger(
            model_name='credittransaction',
            trigger=pgtrigger.compiler.Trigger(name='debit_has_event', sql=pgtrigger.compiler.UpsertTriggerSql(condition='WHEN (NEW."kind" = \'debit\')', constraint='CONSTRAINT', declare='DECLARE found INTEGER; cost NUMERIC;', func="\n        SELECT COUNT(*), SUM(credits_charged) FILTER (WHERE user_id = NEW.user_id) INTO found, cost FROM (\n            SELECT user_id, credits_charged FROM llm_call_events WHERE id = NEW.event_id UNION ALL\n            SELECT user_id, credits_charged FROM tool_call_events WHERE id = NEW.event_id) e;\n        IF found <> 1 OR cost IS DISTINCT FROM -NEW.amount THEN\n            RAISE EXCEPTION 'L3: entry % takes %, its event costs %', NEW.id, -NEW.amount, cost USING ERRCODE = '23514';\n        END IF;\n        RETURN NULL;\n        ", hash='c3ac14d7a1fdaca836585d94d09a760d64478932', operation='INSERT', pgid='pgtrigger_debit_has_event_6d1ff', table='credit_transactions', timing='DEFERRABLE INITIALLY DEFERRED', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='llmcallevent',
            trigger=pgtrigger.compiler.Trigger(name='event_has_debit', sql=pgtrigger.compiler.UpsertTriggerSql(constraint='CONSTRAINT', declare='DECLARE debited NUMERIC; is_twice BOOLEAN;', func="\n        SELECT SUM(amount), EXISTS (SELECT 1 FROM tool_call_events WHERE id = NEW.id) INTO debited, is_twice\n            FROM credit_transactions WHERE event_id = NEW.id AND user_id = NEW.user_id;\n        IF is_twice OR COALESCE(debited, 0) <> -NEW.credits_charged THEN\n            RAISE EXCEPTION 'L3: event % costs %, debited %', NEW.id, NEW.credits_charged, debited\n                USING ERRCODE = '23514';\n        END IF;\n        RETURN NULL;\n        ", hash='d14cbb2845489034e3f9a838e9b19c465875bac1', operation='INSERT', pgid='pgtrigger_event_has_debit_a0966', table='llm_call_events', timing='DEFERRABLE INITIALLY DEFERRED', when='AFTER')),
        ),
        migrations.AddConstraint(
            model_name='toolcallevent',
            constraint=models.CheckConstraint(condition=models.Q(('credits_charged__range', (0, Decimal('1000000.00000000'))), ('credits_burned__range', (0, Decimal('1000000.00000000')))), name='tool_call_never_negative'),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='toolcallevent',
            trigger=pgtrigger.compiler.Trigger(name='append_only', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n        IF TG_OP = 'UPDATE' AND (OLD.credits_charged = 0 OR NEW.tool_name = OLD.tool_name)\n                AND to_jsonb(NEW) - ARRAY['agent_key', 'arguments_hash', 'tool_name'] = to_jsonb(OLD) - ARRAY['agent_key', 'arguments_hash', 'tool_name'] THEN\n            RETURN NEW;\n        END IF;\n        RAISE EXCEPTION 'L4: Cannot update or delete rows from % table', TG_TABLE_NAME;\n        ", hash='d866181588eeaac24f74aa20ed127e0fe0b49770', operation='UPDATE OR DELETE', pgid='pgtrigger_append_only_2de52', table='tool_call_events', when='BEFORE')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='toolcallevent',
            trigger=pgtrigger.compiler.Trigger(name='never_truncated', sql=pgtrigger.compiler.UpsertTriggerSql(func="RAISE EXCEPTION 'L4: Cannot truncate the append-only table %', TG_TABLE_NAME;", hash='c564bfe1ab3e6abfe3b214465de603871426a24f', level='STATEMENT', operation='TRUNCATE', pgid='pgtrigger_never_truncated_5eff9', table='tool_call_events', when='BEFORE')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='toolcallevent',
            trigger=pgtrigger.compiler.Trigger(name='event_has_debit', sql=pgtrigger.compiler.UpsertTriggerSql(constraint='CONSTRAINT', declare='DECLARE debited NUMERIC; is_twice BOOLEAN;', func="\n        SELECT SUM(amount), EXISTS (SELECT 1 FROM llm_call_events WHERE id = NEW.id) INTO debited, is_twice\n            FROM credit_transactions WHERE event_id = NEW.id AND user_id = NEW.user_id;\n        IF is_twice OR COALESCE(debited, 0) <> -NEW.credits_charged THEN\n            RAISE EXCEPTION 'L3: event % costs %, debited %', NEW.id, NEW.credits_charged, debited\n                USING ERRCODE = '23514';\n        END IF;\n        RETURN NULL;\n        ", hash='a4ef62099d9e4a6fa25405adfb09adff2d85e21a', operation='INSERT', pgid='pgtrigger_event_has_debit_712a5', table='tool_call_events', timing='DEFERRABLE INITIALLY DEFERRED', when='AFTER')),
        ),
    ]
