from __future__ import annotations

import config.core.ids
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0004_anchors")]

    operations = [
        migrations.CreateModel(
            name='CostDay',
            fields=[
                ('id', models.UUIDField(default=config.core.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('day', models.DateField()),
                ('provider', models.CharField(max_length=64)),
                ('model_alias', models.CharField(max_length=64)),
                ('calls', models.BigIntegerField()),
                ('credits_charged', models.DecimalField(decimal_places=8, max_digits=28)),
                ('credits_with_cost', models.DecimalField(decimal_places=8, max_digits=28)),
                ('provider_cost_usd', models.DecimalField(decimal_places=8, max_digits=28)),
                ('calls_without_cost', models.BigIntegerField()),
                ('calls_lost', models.BigIntegerField()),
                ('charges_above_hold', models.BigIntegerField()),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'verbose_name': "day's cost",
                'verbose_name_plural': "days' costs",
                'db_table': 'cost_days',
                'constraints': [models.UniqueConstraint(fields=('day', 'provider', 'model_alias'), name='cost_day_once_per_provider_and_alias'), models.CheckConstraint(condition=models.Q(('calls__gt', 0), ('calls_without_cost__range', (0, models.F('calls'))), ('calls_lost__range', (0, models.F('calls'))), ('charges_above_hold__range', (0, models.F('calls')))), name='cost_day_counts_within_calls')],
            },
        ),
        migrations.CreateModel(
            name='CostFinding',
            fields=[
                ('id', models.UUIDField(default=config.core.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('day', models.DateField()),
                ('kind', models.CharField(choices=[('cost_unknown', 'Cost Unknown'), ('cost_without_credits', 'Cost Without Credits'), ('below_cost', 'Below Cost'), ('drift', 'Drift')], max_length=32)),
                ('provider', models.CharField(max_length=64)),
                ('model_alias', models.CharField(max_length=64)),
                ('detail', models.TextField()),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'db_table': 'cost_findings',
                'constraints': [models.UniqueConstraint(fields=('day', 'kind', 'provider', 'model_alias'), name='cost_finding_once_per_day_and_alias'), models.CheckConstraint(condition=models.Q(('kind__in', ['cost_unknown', 'cost_without_credits', 'below_cost', 'drift'])), name='cost_finding_known_kind')],
            },
        ),
    ]
