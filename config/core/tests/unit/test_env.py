"""A wrong value stops the start with a message that names the variable."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.core.exceptions import ImproperlyConfigured

from config import env

NAME = "TALLYROOM_TEST_VALUE"
READERS: dict[str, Callable[[], Any]] = {
    "flag": lambda: env.flag(NAME, default=True),
    "integer": lambda: env.integer(NAME, default=7, least=1, most=100),
    "seconds": lambda: env.seconds(NAME, default=2.5),
    "credits": lambda: env.credits(NAME, default="5.0"),
    "usd": lambda: env.usd(NAME),
    "choice": lambda: env.choice(NAME, default="warn", allowed=("off", "warn", "hard")),
    "names": lambda: env.names(NAME, "a, b"),
    "json_object": lambda: env.json_object(NAME),
    "http_url": lambda: env.http_url(NAME),
    "database": lambda: env.database(NAME),
}


@pytest.mark.parametrize(
    ("reader", "raw", "value"),
    [
        ("flag", "1", True),
        ("flag", "YES", True),
        ("flag", " off ", False),
        ("integer", "1", 1),
        ("integer", " 100 ", 100),
        ("seconds", "0.1", 0.1),
        ("credits", "0", Decimal(0)),
        ("credits", "9999999999.99999999", Decimal("9999999999.99999999")),
        ("usd", "0.00000001", Decimal("0.00000001")),
        ("choice", "hard", "hard"),
        ("names", "x,, y ,", ["x", "y"]),
        ("json_object", '{"a": {"b": 1}}', {"a": {"b": 1}}),
        ("http_url", "http://localhost:8080/v1/", "http://localhost:8080/v1"),
    ],
)
def test_right_values_are_read(monkeypatch: pytest.MonkeyPatch, reader: str, raw: str, value: object) -> None:
    monkeypatch.setenv(NAME, raw)
    assert READERS[reader]() == value


@pytest.mark.parametrize(
    ("reader", "value"),
    [
        ("flag", True),
        ("integer", 7),
        ("seconds", 2.5),
        ("credits", Decimal("5.0")),
        ("usd", None),
        ("choice", "warn"),
        ("names", ["a", "b"]),
        ("json_object", {}),
        ("http_url", ""),
        ("database", None),
    ],
)
def test_an_unset_variable_is_its_default(monkeypatch: pytest.MonkeyPatch, reader: str, value: object) -> None:
    monkeypatch.delenv(NAME, raising=False)
    assert READERS[reader]() == value


@pytest.mark.parametrize(
    "reader", ["flag", "integer", "seconds", "credits", "usd", "choice", "json_object", "database"]
)
def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch, reader: str) -> None:
    monkeypatch.delenv(NAME, raising=False)
    unset = READERS[reader]()
    monkeypatch.setenv(NAME, "")
    assert READERS[reader]() == unset


@pytest.mark.parametrize(
    ("reader", "raw"),
    [
        ("flag", "maybe"),
        ("flag", "2"),
        ("integer", "x"),
        ("integer", "1.5"),
        ("integer", "0"),
        ("integer", "101"),
        ("integer", "9" * 5000),
        ("seconds", "soon"),
        ("seconds", "0"),
        ("seconds", "-1"),
        ("seconds", "nan"),
        ("seconds", "inf"),
        ("credits", "much"),
        ("credits", "-0.1"),
        ("credits", "NaN"),
        ("credits", "Infinity"),
        ("credits", "10000000000"),
        ("credits", "0.000000001"),
        ("usd", "0"),
        ("usd", "-1"),
        ("usd", "NaN"),
        ("usd", "0.000000001"),
        ("choice", "Hard"),
        ("choice", "strict"),
        ("json_object", "{"),
        ("json_object", "[1]"),
        ("http_url", "localhost:8080"),
        ("http_url", "ftp://localhost/"),
        ("http_url", "http://"),
        ("http_url", "http://:80/"),
        ("http_url", "http://localhost:99999/"),
        ("database", "mysql://u:s3cret@localhost/db"),
        ("database", "sqlite:///db"),
        ("database", "postgres://u:s3cret@localhost:port/db"),
    ],
)
def test_wrong_values_are_refused_by_name(monkeypatch: pytest.MonkeyPatch, reader: str, raw: str) -> None:
    monkeypatch.setenv(NAME, raw)
    with pytest.raises(ImproperlyConfigured, match=rf"^{NAME}: ") as refusal:
        READERS[reader]()
    assert "s3cret" not in str(refusal.value)


def test_a_database_url_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "postgres://tally:p%40ss@db.example.com:6432/room?connect_timeout=3")
    config = env.database(NAME)
    assert config is not None
    assert config["ENGINE"] == "django.db.backends.postgresql"
    assert (config["NAME"], config["USER"], config["PASSWORD"]) == ("room", "tally", "p@ss")
    assert (config["HOST"], config["PORT"]) == ("db.example.com", 6432)
    assert config["OPTIONS"] == {"connect_timeout": 3}


def test_a_database_on_a_unix_socket_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "postgres://postgres@/room?host=/run/postgresql")
    config = env.database(NAME)
    assert config is not None
    assert config["OPTIONS"] == {"host": "/run/postgresql"}


def test_a_secret_is_long_enough_or_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A_SECRET", raising=False)
    assert env.secret("A_SECRET", least_bytes=32) == ""
    monkeypatch.setenv("A_SECRET", "$" + "x" * 31)
    assert env.secret("A_SECRET", least_bytes=32) == "$" + "x" * 31
    monkeypatch.setenv("A_SECRET", "x" * 31)
    with pytest.raises(ImproperlyConfigured, match=r"^A_SECRET: needs at least 32 bytes"):
        env.secret("A_SECRET", least_bytes=32)


@pytest.mark.parametrize("value", ["http://x", "redis://host:port/0", "redis://", "redis://h:99999/0", "foo"])
def test_a_wrong_redis_url_is_named_and_not_repeated(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("A_REDIS", value)
    with pytest.raises(ImproperlyConfigured, match=r"^A_REDIS: expected redis://"):
        env.redis_url("A_REDIS")


@pytest.mark.parametrize("value", ["redis://h:6379/0", "rediss://:p@h/1", "unix:///tmp/redis.sock?db=0"])
def test_a_redis_url_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("A_REDIS", value)
    assert env.redis_url("A_REDIS") == value


@pytest.mark.parametrize("value", ["example.com", "https://example.com/path", "ftp://x", "https://", "https://[::1"])
def test_an_origin_without_a_scheme_or_with_a_path_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SOME_ORIGINS", f"https://good.example.com,{value}")
    with pytest.raises(ImproperlyConfigured, match=r"^SOME_ORIGINS: "):
        env.origins("SOME_ORIGINS")


@pytest.mark.parametrize(
    "value",
    [
        "https://id.example.com/auth/v1/.well-known/jwks.json",
        "https://id.example.com:8443/keys/?v=1",
        "http://127.0.0.1:9999/jwks",
        "http://[::1]:9999/jwks",
        "http://localhost/jwks",
    ],
)
def test_a_guarded_url_is_https_or_this_machine_and_taken_as_it_stands(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("A_URL", value)
    assert env.guarded_url("A_URL", takes_plain_http=False) == value


@pytest.mark.parametrize(
    "value",
    [
        "http://id.example.com/jwks",
        "http://127.0.0.1.example.com/jwks",
        "http://localhost.example.com/jwks",
        "https://user:s3cret@id.example.com/jwks",
        "https://id.example.com/jwks#keys",
        "https://id.example.com:port/jwks",
        "https://id.example.com:0/jwks",
        "https://id.example.com/two words",
        "https://id.example.com/a\tb",
        "https://münchen.example.com/jwks",
        "https://",
        "https:///jwks",
        "https://[::1/jwks",
        "file:///etc/passwd",
        "ftp://id.example.com/jwks",
        "id.example.com/jwks",
    ],
)
def test_another_url_is_refused_by_name_and_not_repeated(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("A_URL", value)
    with pytest.raises(ImproperlyConfigured, match=r"^A_URL: (expected|needs) https") as refusal:
        env.guarded_url("A_URL", takes_plain_http=False)
    assert "s3cret" not in str(refusal.value)


def test_a_guarded_url_may_be_unset_and_plain_in_development(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A_URL", raising=False)
    assert env.guarded_url("A_URL", takes_plain_http=False) == ""
    monkeypatch.setenv("A_URL", "http://supabase.local:8000/jwks")
    assert env.guarded_url("A_URL", takes_plain_http=True) == "http://supabase.local:8000/jwks"


def test_a_public_key_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    armour_only = "".join(pem.splitlines()[1:-1])
    ssh = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    jwk = '{"kty": "EC", "crv": "P-256", "x": "x", "y": "y"}'
    for value in (pem, pem.replace("\n", "\\n"), armour_only, ssh, jwk, f'{{"keys": [{jwk}]}}'):
        monkeypatch.setenv("A_SECRET", value)
        with pytest.raises(ImproperlyConfigured, match=r"^A_SECRET: is a key or a certificate"):
            env.secret("A_SECRET", least_bytes=32)


def test_a_folder_is_made_and_one_that_cannot_be_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(env.env.ENVIRON, NAME, str(tmp_path / "a" / "b"))
    assert env.writable_folder(NAME) == str(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    monkeypatch.setitem(env.env.ENVIRON, NAME, str(tmp_path / "file"))
    with pytest.raises(ImproperlyConfigured, match=NAME):
        env.writable_folder(NAME)
    monkeypatch.setitem(env.env.ENVIRON, NAME, "")
    assert env.writable_folder(NAME) == ""
