"""JSON Web Tokens signed with HS256 (RFC 7519, RFC 7515), and the words with which the server refuses them."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping

EXPIRED = "ExpiredSignatureError('Signature has expired')"
"""What the server says of a token that has expired."""

_HEADER = {"alg": "HS256", "typ": "JWT"}


class BadToken(Exception):
    """The token is refused. The text is the message that the server's page shows."""


def issue(claims: Mapping[str, object], key: bytes) -> str:
    """Make a signed token with these claims."""
    signed = f"{_pack(_HEADER)}.{_pack(claims)}"
    return f"{signed}.{_base64(_sign(signed, key))}"


def read(token: str, key: bytes, now: float) -> dict[str, object]:
    """The claims of a valid token. A token without `exp`, or with `iat` in the future, is valid, too.

    Args:
        token: as it stood in the header.
        key: that it should be signed with.
        now: seconds since 1970.

    Raises:
        BadToken: it is not a token, is signed with another key, or has expired.
    """
    parts = token.split(".")
    if len(parts) != 3:
        raise BadToken("DecodeError('Not enough segments')")
    header = _object(_unpack(parts[0], "header"), "header")
    claims_bytes = _unpack(parts[1], "payload")
    signature = _unpack(parts[2], "crypto")
    if header.get("alg") != "HS256":
        raise BadToken("InvalidAlgorithmError('The specified alg value is not allowed')")
    if not hmac.compare_digest(signature, _sign(f"{parts[0]}.{parts[1]}", key)):
        raise BadToken("InvalidSignatureError('Signature verification failed')")
    claims = _object(claims_bytes, "payload")
    expires = claims.get("exp")
    if isinstance(expires, int | float) and expires <= now:
        raise BadToken(EXPIRED)
    return claims


def _sign(text: str, key: bytes) -> bytes:
    return hmac.new(key, text.encode("utf-8", "replace"), hashlib.sha256).digest()


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _pack(value: Mapping[str, object]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _unpack(part: str, name: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        raise BadToken(f"DecodeError('Invalid {name} padding')") from None


def _object(raw: bytes, name: str) -> dict[str, object]:
    try:
        value = json.loads(raw)
    except ValueError:
        raise BadToken(f"DecodeError('Invalid {name} string')") from None
    if not isinstance(value, dict):
        raise BadToken(f"DecodeError('Invalid {name} string: must be a json object')")
    return value
