"""Readers of environment variables that fail loudly: every complaint names the variable."""

from __future__ import annotations

import json
import os
from base64 import b64decode
from decimal import Decimal, InvalidOperation
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import environ
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()
_MAIL_PORTS = {"smtp": 25, "smtp+tls": 587, "smtp+ssl": 465, "consolemail": 0}


def text(name: str, default: str = "") -> str:
    """A variable as it stands. Not through `env.str`, which takes a value with a leading `$` for another's name."""
    return str(env.ENVIRON.get(name, default)).strip()


def flag(name: str, *, default: bool) -> bool:
    raw = text(name)
    if not raw:
        return default
    if raw.lower() in {"1", "true", "yes", "on"}:
        return True
    if raw.lower() in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name}: expected 1 or 0, got {raw!r}")


def integer(name: str, *, default: int, least: int = 0, most: int = 2**31 - 1) -> int:
    raw = text(name)
    if not raw:
        return default
    try:
        value = int(raw)
    except ValueError:
        raise ImproperlyConfigured(f"{name}: expected a whole number, got {raw!r}") from None
    if not least <= value <= most:
        raise ImproperlyConfigured(f"{name}: expected {least} to {most}, got {value}")
    return value


def seconds(name: str, *, default: float, least: float = 0.1) -> float:
    raw = text(name)
    if not raw:
        return default
    try:
        value = float(raw)
    except ValueError:
        raise ImproperlyConfigured(f"{name}: expected seconds, got {raw!r}") from None
    if not least <= value < 1e7:
        raise ImproperlyConfigured(f"{name}: expected at least {least} seconds, got {raw}")
    return value


def credits(name: str, *, default: str) -> Decimal:
    """An amount of credits: finite, not negative, at most 8 places, within Numeric(18,8)."""
    raw = text(name, default) or default
    try:
        value = Decimal(raw)
    except InvalidOperation:
        raise ImproperlyConfigured(f"{name}: expected a decimal number, got {raw!r}") from None
    exponent = value.as_tuple().exponent
    if not value.is_finite() or value < 0 or value >= 10**10 or (isinstance(exponent, int) and exponent < -8):
        raise ImproperlyConfigured(f"{name}: expected 0 to 9999999999.99999999 with at most 8 places, got {raw}")
    return value


def usd(name: str) -> Decimal | None:
    """An amount of USD above 0 with at most 8 places; None where the variable is unset."""
    if not text(name):
        return None
    value = credits(name, default="0")
    if value == 0:
        raise ImproperlyConfigured(f"{name}: expected more than 0; leave it unset where it is not known")
    return value


def email(name: str) -> dict[str, Any]:
    """A mail server as Django's settings; nothing where the variable is unset."""
    raw = text(name)
    if not raw:
        return {}
    scheme = raw.split("://")[0]
    # Judged before it is parsed. The URL may hold a password, so it is not repeated.
    if scheme not in _MAIL_PORTS:
        raise ImproperlyConfigured(f"{name}: expected smtp://, smtp+tls:// or smtp+ssl://[user:password@]host[:port]")
    try:
        config: dict[str, Any] = dict(environ.Env.email_url_config(raw))
    except (ValueError, KeyError, ImproperlyConfigured):
        config = {}
    if not config or (scheme != "consolemail" and not config.get("EMAIL_HOST")):
        raise ImproperlyConfigured(f"{name}: not the URL of a mail server")
    return {**config, "EMAIL_PORT": config.get("EMAIL_PORT") or _MAIL_PORTS[scheme]}


def choice(name: str, *, default: str, allowed: tuple[str, ...]) -> str:
    raw = text(name, default) or default
    if raw not in allowed:
        raise ImproperlyConfigured(f"{name}: expected one of {', '.join(allowed)}, got {raw!r}")
    return raw


def names(name: str, default: str = "") -> list[str]:
    return [part.strip() for part in text(name, default).split(",") if part.strip()]


def json_object(name: str) -> dict[str, Any]:
    raw = text(name)
    if not raw:
        return {}
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ImproperlyConfigured(f"{name}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ImproperlyConfigured(f"{name}: expected a JSON object")
    return value


def http_url(name: str) -> str:
    raw = text(name)
    try:
        parts = urlsplit(raw)
        # Reading the port is what judges it.
        is_url = parts.port != 0 and bool(parts.hostname)
    except ValueError:
        raise ImproperlyConfigured(f"{name}: not a URL") from None
    if raw and (parts.scheme not in {"http", "https"} or not is_url):
        raise ImproperlyConfigured(f"{name}: expected an http or https URL")
    return raw.rstrip("/")


def guarded_url(name: str, *, takes_plain_http: bool) -> str:
    """A URL whose answers we believe: https, or plain HTTP to this machine itself. Taken as it stands."""
    raw = text(name)
    try:
        parts = urlsplit(raw)
        # Reading the port is what judges it.
        is_url = parts.port != 0 and bool(parts.hostname) and raw.isascii() and raw.isprintable() and " " not in raw
    except ValueError:
        is_url = False
    if not raw:
        return raw
    # The URL may hold a password, so it is not repeated.
    if not is_url or "@" in parts.netloc or parts.fragment or parts.scheme not in {"http", "https"}:
        raise ImproperlyConfigured(f"{name}: expected https://host[:port]/path, without a user name or a fragment")
    if parts.scheme == "http" and not (takes_plain_http or _is_loopback(parts.hostname or "")):
        raise ImproperlyConfigured(f"{name}: needs https: over plain HTTP anybody on the way could answer")
    return raw


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def secret(name: str, *, least_bytes: int) -> str:
    """A secret, or nothing. A short one can be found offline from any one token that it signed."""
    raw = text(name)
    if raw and len(raw.encode()) < least_bytes:
        raise ImproperlyConfigured(f"{name}: needs at least {least_bytes} bytes, e.g. of `openssl rand -hex 32`")
    if _is_key(raw):
        raise ImproperlyConfigured(f"{name}: is a key or a certificate that others may have too, not a shared secret")
    return raw


def _is_key(raw: str) -> bool:
    """Somebody's public key (PEM, SSH, JWK, or base64 of DER), with which all who know it could sign."""
    if "-----BEGIN " in raw or '"kty"' in raw or raw.startswith(("ssh-", "ecdsa-sha2-")):
        return True
    try:
        load_der_public_key(b64decode(raw, validate=True))
    except (ValueError, UnsupportedAlgorithm):
        return False
    return True


def origins(name: str) -> list[str]:
    """A comma list of `scheme://host[:port]`."""
    values = names(name)
    for value in values:
        try:
            parts = urlsplit(value)
        except ValueError:
            raise ImproperlyConfigured(f"{name}: {value!r} is not an origin") from None
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path or parts.query:
            raise ImproperlyConfigured(f"{name}: expected origins such as https://example.com, got {value!r}")
    return values


def writable_folder(name: str) -> str:
    """A folder that this process may write to, made where it is missing; or nothing."""
    raw = text(name)
    if not raw:
        return ""
    folder = Path(raw)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(f"{name}: cannot be used: {raw!r}: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ImproperlyConfigured(f"{name}: cannot be used: {raw!r} cannot be written to")
    return raw


def s3() -> dict[str, str | None]:
    """The options of an S3 storage: S3_ENDPOINT_URL, S3_BUCKET, S3_REGION, S3_ACCESS_KEY, S3_SECRET_KEY."""
    bucket, access_key, secret_key = (text(f"S3_{part}") for part in ("BUCKET", "ACCESS_KEY", "SECRET_KEY"))
    if not bucket:
        raise ImproperlyConfigured("S3_BUCKET: not set, as STORAGE_BACKEND is s3")
    if bool(access_key) != bool(secret_key):
        raise ImproperlyConfigured("S3_ACCESS_KEY, S3_SECRET_KEY: set both, or none where the machine has a role")
    return {
        "endpoint_url": http_url("S3_ENDPOINT_URL") or None,
        "bucket_name": bucket,
        "region_name": text("S3_REGION") or "us-east-1",
        "access_key": access_key or None,
        "secret_key": secret_key or None,
    }


def redis_url(name: str, default: str = "") -> str:
    raw = text(name) or default
    try:
        parts = urlsplit(raw)
        # Reading the port is what judges it.
        valid = parts.scheme in {"redis", "rediss", "unix"} and parts.port != 0 and bool(parts.netloc or parts.path)
    except ValueError:
        valid = False
    if not valid:
        # The URL may hold a password, so it is not repeated.
        raise ImproperlyConfigured(f"{name}: expected redis://[user:password@]host:port/number")
    return raw


def database(name: str) -> dict[str, Any] | None:
    """A PostgreSQL URL as Django's settings; None where the variable is unset."""
    raw = text(name)
    if not raw:
        return None
    # Judged before it is parsed: environ would warn of another scheme with the whole URL, password included.
    if raw.split("://")[0] not in {"postgres", "postgresql", "psql", "pgsql"}:
        raise ImproperlyConfigured(f"{name}: only PostgreSQL is supported, as postgres://user:password@host:port/name")
    try:
        config: dict[str, Any] = dict(environ.Env.db_url_config(raw))
    except (ValueError, KeyError, ImproperlyConfigured):
        raise ImproperlyConfigured(f"{name}: not a database URL") from None
    config["HOST"] = unquote(str(config.get("HOST") or ""))
    config["ENGINE"] = "django.db.backends.postgresql"
    return config
