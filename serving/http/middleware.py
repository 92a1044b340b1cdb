"""ASGI middleware around the app: request id, security headers, metrics, access log, draining, API keys.

RequestMiddleware wraps everything, so that error responses and refused preflights get the same headers and are counted
and logged as well.
"""

import logging
import random
import re
import time
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import MintError
from serving.http.auth import check_key
from serving.http.exception_handlers import error_response
from serving.http.state import AppState
from serving.json_logging import request_id

logger = logging.getLogger("serving.access")

REQUESTS = Counter("mint_requests", "Requests answered", ("route", "method", "status"))
SECONDS = Histogram(
    "mint_request_seconds",
    "Time from a request's headers to the last byte of its answer",
    ("route",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)

PROBES = frozenset({"/livez", "/readyz"})  # need no key and are not logged
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
MAX_LOGGED_PATH = 200  # characters
MAX_PROXIES = 32  # between a client and the service
MAX_FORWARDED = 4096  # characters of X-Forwarded-For or Forwarded
SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
DEFAULT_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


class RequestMiddleware:
    """Outermost middleware: request id, security headers, metrics and access log."""

    def __init__(self, app: ASGIApp, state: AppState | None = None) -> None:
        """state: settings, and whether the server drains; None for requests that the protocol refuses."""
        self.app = app
        self.state = state
        self.trusted_proxies = state.settings.trusted_proxies if state else ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        client = client_address(scope, headers, self.trusted_proxies)
        draining = self.state is not None and self.state.draining
        recorder = _ResponseRecorder(scope, send, _choose_id(headers), client, closing=draining)
        token = request_id.set(recorder.id)
        try:
            await self.app(scope, receive, recorder.send)
        except Exception:
            # Starlette has responded 500 by now; here the exception gets into the log, with the request's id.
            logger.exception("a fault of the server")
        finally:
            recorder.record()
            request_id.reset(token)


class AuthMiddleware:
    """Middleware that lets probes and requests with a known key pass.

    Responses are marked private, as they belong to the holder of the key. Caches that follow the rules would not keep
    them anyway (RFC 9111, section 3.5), but for `public`; nginx's ignores Authorization altogether.
    """

    def __init__(self, app: ASGIApp, key_hashes: Sequence[str]) -> None:
        """key_hashes: SHA-256 in hexadecimal of each key."""
        self.app = app
        self.key_hashes = key_hashes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI connection."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self.app(scope, receive, send)
            return

        async def send_private(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                others = headers.get("cache-control", "").removeprefix("public, ")
                headers["cache-control"] = f"private, {others}" if others else "private"
                headers.add_vary_header("Authorization")
            await send(message)

        app = self.app
        try:
            check_key(Headers(scope=scope).get("authorization"), self.key_hashes)
        except MintError as error:
            app = error_response(error)
        await app(scope, receive, send_private)


class _ResponseRecorder:
    """Wrapper of ASGI's send that adds headers to the response, then counts, times and logs it."""

    def __init__(self, scope: Scope, send: Send, id: str, client: str | None, closing: bool) -> None:
        """client: its address. closing: whether the response gets `Connection: close`."""
        self.id = id
        self._client = client
        self._scope = scope
        self._send = send
        self._closing = closing
        self._status = 0  # until the response starts; stays 0 if the client disconnects before
        self._started = time.perf_counter()

    async def send(self, message: Message) -> None:
        """Send a message of the response."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = message["headers"]
            headers += SECURITY_HEADERS
            headers.append((b"x-request-id", self.id.encode()))
            if not any(name == b"content-security-policy" for name, _ in headers):
                headers.append(DEFAULT_POLICY)
            if self._closing:
                headers.append((b"connection", b"close"))
        await self._send(message)

    def record(self) -> None:
        """Count the request under its route, since the path could be anything, and log it unless it is a probe."""
        seconds = time.perf_counter() - self._started
        route = self._scope.get("route")
        path = "other" if route is None else route.path
        method = self._scope["method"] if self._scope["method"] in METHODS else "other"
        requests, histogram = _metrics(path, method, self._status)
        requests.inc()
        histogram.observe(seconds)
        if path not in PROBES or self._status >= 500:
            _log(method, self._scope["path"], self._status, seconds, self._client)


@lru_cache(maxsize=1024)  # there are fewer routes, methods and statuses
def _metrics(route: str, method: str, status: int) -> tuple[Counter, Histogram]:
    return REQUESTS.labels(route, method, status), SECONDS.labels(route)


def _log(method: str, path: str, status: int, seconds: float, client: str | None) -> None:
    """Log a request. The record is made by hand, because a logger would walk the stack for its caller each time."""
    if logger.isEnabledFor(logging.INFO):
        record = logging.LogRecord(
            logger.name, logging.INFO, __file__, 0, "%s %s %d", (method, path[:MAX_LOGGED_PATH], status), None
        )
        record.fields = {
            "client": client,
            "method": method,
            "path": path[:MAX_LOGGED_PATH],
            "status": status,
            "seconds": round(seconds, 6),
        }
        logger.handle(record)


def _choose_id(headers: Headers) -> str:
    """Return the client's own request id if it is safe to log, else a new one."""
    given = headers.get("x-request-id", "")
    return given if SAFE_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"


def client_address(scope: Scope, headers: Headers, trusted: Sequence[IPNetwork]) -> str | None:
    """Return the address of the client; None for a connection that has none, such as a Unix socket.

    It is the peer's address. Where the peer is a trusted proxy, it is the one that the proxy has appended to
    X-Forwarded-For, or without that header to Forwarded (RFC 7239), and so on from right to left: a client can
    forge everything to the left of the first address that is not trusted.
    """
    if scope.get("client") is None:
        return None
    peer: str = scope["client"][0]
    if not trusted:
        return peer
    client = peer
    address = _parse_address(peer)
    hops = iter(reversed(_forwarded_addresses(headers)))
    while address is not None and any(address in network for network in trusted):
        address = _parse_address(next(hops, ""))
        client = str(address or client)
    return client


def _forwarded_addresses(headers: Headers) -> list[str]:
    """List the addresses that proxies have appended, the nearest proxy's last."""
    if "x-forwarded-for" in headers:
        return _last_elements(headers.getlist("x-forwarded-for"))
    return [_forwarded_for(element) for element in _last_elements(headers.getlist("forwarded"))]


def _last_elements(values: Sequence[str]) -> list[str]:
    """Split a header, which may occur several times, into its last elements."""
    return ",".join(values)[-MAX_FORWARDED:].split(",")[-MAX_PROXIES:]


def _forwarded_for(element: str) -> str:
    """Return the `for` parameter of one element of Forwarded; empty where there is none."""
    pairs = (pair.strip().partition("=") for pair in element.split(";"))
    return next((value for name, _, value in pairs if name.lower() == "for"), "")


def _parse_address(text: str) -> IPAddress | None:
    """Parse an address, perhaps in quotes, in brackets or with a port; None for anything else, such as `unknown`."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:  # free text
            return None
        return address.ipv4_mapped or address
    return address
