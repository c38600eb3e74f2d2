import config.core.ids
import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0002_ledger_checks'),
    ]

    operations = [
        migrations.CreateModel(
            name='AlertPreference',
            fields=[
                ('user_id', models.UUIDField(primary_key=True, serialize=False)),
                ('email', models.BooleanField(default=True)),
            ],
            options={
                'db_table': 'alert_preferences',
            },
        ),
        migrations.CreateModel(
            name='WebhookEndpoint',
            fields=[
                ('id', models.UUIDField(default=config.core.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('user_id', models.UUIDField(editable=False, null=True)),
                ('url', models.CharField(max_length=2048)),
                ('kinds', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(choices=[('low_balance', 'Low Balance'), ('balance_empty', 'Balance Empty'), ('credits_expiring', 'Credits Expiring')], max_length=32), blank=True, default=list, size=None)),
                ('secret_sealed', models.TextField(editable=False)),
                ('secret_prefix', models.CharField(editable=False, help_text='The beginning, to tell it by.', max_length=16)),
                ('busy_until', models.DateTimeField(editable=False, null=True)),
                ('failing_since', models.DateTimeField(editable=False, null=True)),
                ('disabled_at', models.DateTimeField(editable=False, null=True)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
            ],
            options={
                'db_table': 'webhook_endpoints',
            },
        ),
        migrations.CreateModel(
            name='Alert',
            fields=[
                ('id', models.UUIDField(default=config.core.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('user_id', models.UUIDField()),
                ('kind', models.CharField(choices=[('low_balance', 'Low Balance'), ('balance_empty', 'Balance Empty'), ('credits_expiring', 'Credits Expiring')], max_length=32)),
                ('seq', models.BigIntegerField(null=True)),
                ('balance', models.DecimalField(decimal_places=8, max_digits=18)),
                ('threshold', models.DecimalField(decimal_places=8, max_digits=18, null=True)),
                ('expires_at', models.DateTimeField(null=True)),
                ('remaining', models.DecimalField(decimal_places=8, max_digits=18, null=True)),
                ('created_at', models.DateTimeField()),
                ('fanned_out_at', models.DateTimeField(null=True)),
                ('grant', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.creditgrant')),
            ],
            options={
                'db_table': 'alerts',
            },
        ),
        migrations.CreateModel(
            name='AlertDelivery',
            fields=[
                ('id', models.UUIDField(default=config.core.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('user_id', models.UUIDField(null=True)),
                ('status', models.CharField(choices=[('pending', 'Pending'), ('delivered', 'Delivered'), ('failed', 'Failed'), ('dropped', 'Dropped')], default='pending', max_length=16)),
                ('attempts', models.IntegerField(default=0)),
                ('next_attempt_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('last_error', models.CharField(blank=True, default='', max_length=64)),
                ('http_status', models.IntegerField(null=True)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('delivered_at', models.DateTimeField(null=True)),
                ('alert', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.alert')),
            ],
            options={
                'verbose_name_plural': 'alert deliveries',
                'db_table': 'alert_deliveries',
            },
        ),
        migrations.AddIndex(
            model_name='webhookendpoint',
            index=models.Index(fields=['user_id'], name='webhook_endpoint_user'),
        ),
        migrations.AddField(
            model_name='alertdelivery',
            name='endpoint',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='billing.webhookendpoint'),
        ),
        migrations.AddIndex(
            model_name='alert',
            index=models.Index(condition=models.Q(('fanned_out_at__isnull', True)), fields=['created_at'], name='alert_not_fanned_out'),
        ),
        migrations.AddConstraint(
            model_name='alert',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('expires_at__isnull', False), ('grant__isnull', False), ('kind', 'credits_expiring'), ('remaining__isnull', False)), models.Q(('grant__isnull', True), ('kind__in', ['low_balance', 'balance_empty']), ('seq__isnull', False)), _connector='OR'), name='alert_fits_kind'),
        ),
        migrations.AddConstraint(
            model_name='alert',
            constraint=models.UniqueConstraint(condition=models.Q(('grant__isnull', False)), fields=('grant',), name='alert_once_per_lot'),
        ),
        migrations.AddConstraint(
            model_name='alert',
            constraint=models.UniqueConstraint(condition=models.Q(('seq__isnull', False)), fields=('user_id', 'seq', 'kind'), name='alert_once_per_crossing'),
        ),
        migrations.AddIndex(
            model_name='alertdelivery',
            index=models.Index(condition=models.Q(('status', 'pending')), fields=['next_attempt_at'], name='delivery_due'),
        ),
        migrations.AddIndex(
            model_name='alertdelivery',
            index=models.Index(fields=['endpoint', 'id'], name='delivery_endpoint'),
        ),
        migrations.AddIndex(
            model_name='alertdelivery',
            index=models.Index(condition=models.Q(('endpoint__isnull', True)), fields=['user_id'], name='delivery_mail_user'),
        ),
        migrations.AddConstraint(
            model_name='alertdelivery',
            constraint=models.CheckConstraint(condition=models.Q(('alert__isnull', False), ('endpoint__isnull', False), _connector='OR'), name='delivery_of_something'),
        ),
        migrations.AddConstraint(
            model_name='alertdelivery',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('delivered_at__isnull', False), ('status', 'delivered')), models.Q(models.Q(('status', 'delivered'), _negated=True), ('delivered_at__isnull', True)), _connector='OR'), name='delivery_delivered_at_a_time'),
        ),
        migrations.AddConstraint(
            model_name='alertdelivery',
            constraint=models.UniqueConstraint(condition=models.Q(('alert__isnull', False), ('endpoint__isnull', False)), fields=('alert', 'endpoint'), name='delivery_once_per_endpoint'),
        ),
        migrations.AddConstraint(
            model_name='alertdelivery',
            constraint=models.UniqueConstraint(condition=models.Q(('endpoint__isnull', True)), fields=('alert',), name='delivery_one_mail_per_alert'),
        ),
        migrations.AddConstraint(
            model_name='alertdelivery',
            constraint=models.UniqueConstraint(condition=models.Q(('alert__isnull', True), ('status', 'pending')), fields=('endpoint',), name='delivery_one_ping_at_once'),
        ),
    ]
