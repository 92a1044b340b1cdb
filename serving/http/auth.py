"""Who may ask: keys that the server knows by their SHA-256 only."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence

from serving.errors import MintError

CHALLENGES = ("Bearer", 'Basic realm="Mint", charset="UTF-8"')  # a header each: browsers read one challenge a line
BYTES = 32  # of randomness in a key: nothing to guess, so a plain hash is enough


class MissingKeyError(MintError):
    """A request without a key where one is needed."""


class UnknownKeyError(MintError):
    """A request with a key that is not known here."""


def new_key() -> str:
    """A random key for a client."""
    return secrets.token_urlsafe(BYTES)


def key_hash(key: str) -> str:
    """What the server knows of a key: its SHA-256 in hexadecimal."""
    return hashlib.sha256(key.encode()).hexdigest()


def check_key(authorization: str | None, hashes: Sequence[str]) -> None:
    """Raises MissingKeyError or UnknownKeyError unless an Authorization header carries one of the keys.

    `Bearer KEY` for programs; `Basic` with the key as password for browsers, which can show the page that way.
    Hashes are compared, all of them and in constant time: how long it takes says nothing about how much of a key is
    right.
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
    known = [hmac.compare_digest(given, each) for each in hashes]
    if not any(known):
        raise UnknownKeyError("this key is not known here; ask whoever runs the server for one")


def _password(credentials: str) -> str:
    """The password of Basic credentials; empty when they cannot be read (RFC 7617)."""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
