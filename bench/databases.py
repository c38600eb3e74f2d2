"""Databases beside the one that DATABASE_URL names, on the same server: one for each thing that must not mix."""

from __future__ import annotations

import os
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

# Migrated and without a user: what all others are copied from.
EMPTY = "bench_empty"


def url_of(name: str) -> str:
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))


def copy(name: str, *, of: str) -> str:
    """A new database like another one, which nobody may be connected to; the one of an earlier run is dropped."""
    drop(name)
    _execute("CREATE DATABASE {} TEMPLATE {}", name, of)
    return url_of(name)


def drop(name: str) -> None:
    _execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def _execute(statement: str, *names: str) -> None:
    with psycopg.connect(url_of("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
