"""API keys: generation, and authentication against their SHA-256, all that the server stores."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence

from serving.errors import MintError

KEY_BYTES = 32  # of randomness: too many to guess, so a plain hash is enough


class MissingKeyError(MintError):
    """A request without a key where one is needed."""

    status = 401
    # Two headers: browsers read one challenge from each.
    headers = (("WWW-Authenticate", "Bearer"), ("WWW-Authenticate", 'Basic realm="Mint", charset="UTF-8"'))


class UnknownKeyError(MintError):
    """A request with a key that the server does not know."""

    status = 403


def new_key() -> str:
    """Generate a random key for a client."""
    return secrets.token_urlsafe(KEY_BYTES)


def key_hash(key: str) -> str:
    """Return the SHA-256 of a key in hexadecimal, which is all that the server stores."""
    return hashlib.sha256(key.encode()).hexdigest()


def check_key(authorization: str | None, hashes: Sequence[str]) -> None:
    """Raise MissingKeyError or UnknownKeyError unless an Authorization header carries one of the keys.

    `Bearer KEY` for programs; `Basic` with the key as password for browsers, which can show the page that way. The key
    is compared with all hashes and in constant time: the duration tells nothing about how much of a key is right.
    """
    scheme, _, credentials = (authorization or "").partition(" ")
    match scheme.lower():
        case "bearer":
            key = credentials.strip()
        case "basic":
            key = _password(credentials.strip())
        case _:
            raise MissingKeyError("this server needs a key; send the header Authorization: Bearer KEY")
    given = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
    matches = [hmac.compare_digest(given, known) for known in hashes]
    if not any(matches):
        raise UnknownKeyError("this key is not known here; ask whoever runs the server for one")


def _password(credentials: str) -> str:
    """Decode the password of Basic credentials (RFC 7617); empty when they cannot be read."""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
