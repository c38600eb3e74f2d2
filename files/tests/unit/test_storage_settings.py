from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from config import env

ROOT = Path(__file__).resolve().parents[3]
S3 = ("S3_ENDPOINT_URL", "S3_BUCKET", "S3_REGION", "S3_ACCESS_KEY", "S3_SECRET_KEY")


@pytest.fixture
def variables(monkeypatch):
    for name in S3:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch.setenv


def test_a_bucket_has_its_server_and_its_keys(variables):
    variables("S3_ENDPOINT_URL", "https://project.supabase.co/storage/v1/s3/")
    for name in S3[1:]:
        variables(name, name.lower())
    assert env.s3() == {
        "endpoint_url": "https://project.supabase.co/storage/v1/s3", "bucket_name": "s3_bucket",
        "region_name": "s3_region", "access_key": "s3_access_key", "secret_key": "s3_secret_key",
    }  # fmt: skip


def test_without_keys_and_address_it_is_amazons_and_the_machines_role(variables):
    variables("S3_BUCKET", "files")
    assert env.s3() == {
        "endpoint_url": None, "bucket_name": "files", "region_name": "us-east-1", "access_key": None,
        "secret_key": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({}, "S3_BUCKET"),
        ({"S3_BUCKET": "b", "S3_ACCESS_KEY": "canary"}, "S3_SECRET_KEY"),
        ({"S3_BUCKET": "b", "S3_SECRET_KEY": "canary"}, "S3_ACCESS_KEY"),
        ({"S3_BUCKET": "b", "S3_ENDPOINT_URL": "ftp://x"}, "S3_ENDPOINT_URL"),
    ],
)
def test_a_wrong_value_stops_the_start_by_its_name_and_tells_no_key(variables, values, named):
    for name, value in values.items():
        variables(name, value)
    with pytest.raises(ImproperlyConfigured, match=named) as caught:
        env.s3()
    assert "canary" not in str(caught.value)


def test_web_and_worker_use_the_pooler_where_there_is_one():
    shown = "print(settings.DATABASES['default']['HOST'])"
    code = f"from config.celery import app; from django.conf import settings; {shown}"
    environment = {
        **os.environ, "DEBUG": "1", "DATABASE_URL": "postgres://u@direct:5432/db",
    }  # fmt: skip
    for pool_url, host in (("postgres://u@pooler:6432/db", "pooler"), ("", "direct")):
        run = subprocess.run(
            [sys.executable, "-c", code], env={**environment, "DATABASE_POOL_URL": pool_url}, cwd=ROOT,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert run.stdout.strip() == host
