"""Validation of request heads: rejects what llhttp accepts but two servers could read in two ways."""

from collections.abc import Sequence
from urllib.parse import unquote

import httptools

from serving.errors import ProtocolError

MAX_TARGET = 16 << 10  # bytes of a request target
VERSIONS = ("1.0", "1.1")
SCHEMES = (b"http", b"https")
BAD_TARGET = (
    "the address is not one that HTTP allows; it starts with /, and characters outside of ASCII, blanks and # are "
    "percent-encoded in it, such as %C3%A9 for \u00e9"
)


def check_head(method: str, version: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Raise ProtocolError for a version, method, host or transfer coding that is not served (RFC 9112)."""
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
    """Split a request target into path, raw path and query; raises ProtocolError for an invalid one.

    The absolute form, http://host/path, is allowed as well (RFC 9112, section 3.2.2).
    """
    try:
        parsed = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        raise ProtocolError(400, BAD_TARGET) from None
    raw_path: bytes = parsed.path or b"/"
    scheme = parsed.schema  # None but in the absolute form, whatever its stub says
    if b"#" in target or (raw_path == b"*" and method != "OPTIONS") or (scheme and scheme.lower() not in SCHEMES):
        raise ProtocolError(400, BAD_TARGET)
    path = raw_path.decode("ascii")
    return (unquote(path) if "%" in path else path), raw_path, parsed.query or b""


def describe_parser_error(error: httptools.HttpParserError) -> str:
    """Describe an error of llhttp's for people."""
    if isinstance(error, httptools.HttpParserInvalidURLError) or "HTTP/, RTSP/" in str(error):
        return BAD_TARGET
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        return (
            "what was sent is not HTTP/1.1 (no method that there is); send plain HTTP, TLS ends in front of this server"
        )
    return f"the request is not sound HTTP/1.1 ({error}); mend what sends it"
