"""The head of a request, held against HTTP/1.1: what llhttp lets pass and two servers could read in two ways."""

from collections.abc import Sequence
from urllib.parse import unquote

import httptools

from serving.errors import ProtocolError

MAX_TARGET = 16 << 10  # bytes of an address
VERSIONS = ("1.0", "1.1")
SCHEMES = (b"http", b"https")


def check_head(method: str, version: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Raises ProtocolError for a version, method, host or transfer coding that is not served (RFC 9112)."""
    if version not in VERSIONS:
        raise ProtocolError(505, f"HTTP/{version} is not spoken here; use HTTP/1.1")
    if method == "CONNECT":
        raise ProtocolError(501, "this server is no proxy; send the request itself")
    hosts = sum(name == b"host" for name, _ in headers)
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise ProtocolError(400, f"the request has {hosts} Host headers; send one")
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    if codings and version == "1.0":
        raise ProtocolError(400, "Transfer-Encoding is not part of HTTP/1.0; use Content-Length or HTTP/1.1")
    if codings not in ([], [b"chunked"]):
        raise ProtocolError(501, "the only Transfer-Encoding that is read here is chunked")


def check_target(method: str, target: bytes) -> tuple[str, bytes, bytes]:
    """Path, path as it was sent, and query of an address; raises ProtocolError for one that is none.

    An absolute address names its path and query as well (RFC 9112, section 3.2.2).
    """
    try:
        parsed = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        raise ProtocolError(400, BAD_TARGET) from None
    raw: bytes = parsed.path or b"/"
    scheme = parsed.schema  # None, whatever its stub says, in all addresses but absolute ones
    if b"#" in target or (raw == b"*" and method != "OPTIONS") or (scheme and scheme.lower() not in SCHEMES):
        raise ProtocolError(400, BAD_TARGET)
    path = raw.decode("ascii")
    return (unquote(path) if "%" in path else path), raw, parsed.query or b""


BAD_TARGET = (
    "the address is not one that HTTP allows; it starts with /, and characters outside of ASCII, blanks and # are "
    "percent-encoded in it, such as %C3%A9 for \u00e9"
)


def sentence_about(error: httptools.HttpParserError) -> str:
    """What llhttp found wrong, for people."""
    if isinstance(error, httptools.HttpParserInvalidURLError) or "HTTP/, RTSP/" in str(error):
        return BAD_TARGET
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        return (
            "what was sent is not HTTP/1.1 (no method that there is); send plain HTTP, TLS ends in front of this server"
        )
    return f"the request is not sound HTTP/1.1 ({error}); mend what sends it"
