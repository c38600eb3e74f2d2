"""A worker's connection to Redis that closes under messages it has not acknowledged."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator
from uuid import uuid4

import pytest
from kombu import Connection
from redis import Redis

from config.broker import encryption
from config.celery import app

log = logging.getLogger(__name__)


@pytest.fixture
def queue(settings) -> Iterator[str]:
    name = f"test-{uuid4()}"
    yield name
    with Redis.from_url(settings.CELERY_BROKER_URL) as redis:
        redis.delete(name, f"_kombu.binding.{name}")


def taken_from(connection: Connection, name: str):
    queue = connection.SimpleQueue(name)
    queue.put("a turn")
    return queue.get(timeout=5)


def queued(name: str, settings) -> int:
    with Redis.from_url(settings.CELERY_BROKER_URL) as redis:
        return redis.llen(name)


def test_a_message_acknowledged_after_its_connection_is_an_error_that_the_worker_logs(queue, caplog):
    with app.connection() as connection:
        errors = connection.connection_errors
        message = taken_from(connection, queue)
    for settle in (message.ack_log_error, message.reject_log_error):
        settle(log, errors)
    assert [record.getMessage().split()[:2] for record in caplog.records if record.name == __name__] == [
        ["Couldn't", "ack"],
        ["Couldn't", "reject"],
    ]


def test_closing_puts_nothing_back(queue, settings):
    with app.connection() as connection:
        message = taken_from(connection, queue)
        channel, tag = message.channel, message.delivery_tag
    assert queued(queue, settings) == 0
    with Redis.from_url(settings.CELERY_BROKER_URL) as redis:
        assert redis.hdel(channel.unacked_key, tag) == 1
        redis.zrem(channel.unacked_index_key, tag)


@pytest.mark.parametrize(
    ("url", "checks"),
    [
        ("rediss://:pw@redis.example:6380/1", ssl.CERT_REQUIRED),
        ("rediss://:pw@redis.example:6380/1?ssl_cert_reqs=none", ssl.CERT_NONE),
        ("redis://:pw@redis.example:6380/1", None),
    ],
)
def test_certificates_are_checked_unless_the_url_says_otherwise(url, checks):
    connection = app.connection(url, ssl=encryption(url))
    assert (connection.ssl or {}).get("ssl_cert_reqs") == checks
    assert connection.transport.client.port == 6380
