"""What of a JWK Set (RFC 7517) may verify a token: RSA keys for RS256 and P-256 keys for ES256, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

# The algorithms that a key set verifies. None of them is symmetric: whoever can read the set could sign with it.
ALGORITHMS = ("RS256", "ES256")
# RFC 7518, section 3.3, and a bound on what one verification costs us.
RSA_MIN_BITS, RSA_MAX_BITS = 2048, 8192
# A provider has a handful. The limit is for a document that is something else.
KEYS_MAX = 100


class NotAKeySet(ValueError):
    pass


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key, and the one algorithm that it is for."""

    kid: str | None
    algorithm: str
    key: RSAPublicKey | EllipticCurvePublicKey


def usable_keys(document: object) -> tuple[VerifyingKey, ...]:
    """The keys that we use. The others are left out one by one: a set may hold kinds that come after us (section 5).

    Raises: NotAKeySet.
    """
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise NotAKeySet("not a JSON object with a list of keys")
    found = [key for key in map(_verifying_key, keys[:KEYS_MAX]) if key is not None]
    # A key that is listed twice is one key.
    return tuple(key for position, key in enumerate(found) if key not in found[:position])


def matching(keys: Sequence[VerifyingKey], *, kid: str | None, algorithm: str) -> VerifyingKey | None:
    """The key that a token means by its `kid`. Without one, the only key of the algorithm: we do not try them all."""
    fitting = [key for key in keys if key.algorithm == algorithm and (kid is None or key.kid == kid)]
    return fitting[0] if len(fitting) == 1 else None


def _verifying_key(jwk: object) -> VerifyingKey | None:
    if not isinstance(jwk, dict) or not _is_for_verifying(jwk):
        return None
    kid = jwk.get("kid")
    algorithm, key = _public_key(jwk)
    if key is None or jwk.get("alg", algorithm) != algorithm or not (kid is None or isinstance(kid, str)):
        return None
    return VerifyingKey(kid, algorithm, key)


def _is_for_verifying(jwk: dict[str, Any]) -> bool:
    """Is the key meant for signatures, and is its private half private? With `d` published, everybody can sign."""
    operations = jwk.get("key_ops", ["verify"])
    return jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations and "d" not in jwk


def _public_key(jwk: dict[str, Any]) -> tuple[str, RSAPublicKey | EllipticCurvePublicKey | None]:
    """The algorithm that the key's type implies, and the key; None for what is no key or too weak a one."""
    try:
        if jwk.get("kty") == "RSA" and _are_texts(jwk, "n", "e"):
            rsa = RSAAlgorithm.from_jwk({name: jwk[name] for name in ("kty", "n", "e")})
            fits = isinstance(rsa, RSAPublicKey) and RSA_MIN_BITS <= rsa.key_size <= RSA_MAX_BITS
            return "RS256", rsa if fits else None  # type: ignore[return-value]
        if jwk.get("kty") == "EC" and jwk.get("crv") == "P-256" and _are_texts(jwk, "x", "y"):
            return "ES256", ECAlgorithm.from_jwk({name: jwk[name] for name in ("kty", "crv", "x", "y")})  # type: ignore[return-value]
    # A point that is not on the curve, an even exponent, text that is no base64url.
    except (jwt.PyJWTError, ValueError):
        pass
    return "", None


def _are_texts(jwk: dict[str, Any], *names: str) -> bool:
    return all(isinstance(jwk.get(name), str) for name in names)
