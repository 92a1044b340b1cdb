"""The edge of the app: what every request meets before its route, and every answer before it leaves.

An id for the request, headers that keep browsers safe, figures for Prometheus, one line of the log, and `Connection:
close` while the server drains; further in, the key where keys are asked for.
"""

import logging
import random
import re
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network

from prometheus_client import Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import MintError
from serving.http.auth import check_key
from serving.http.client_address import client_address
from serving.json_logging import request_id

logger = logging.getLogger("serving.access")

REQUESTS = Counter("mint_requests", "Requests answered", ("route", "method", "status"))
SECONDS = Histogram(
    "mint_request_seconds",
    "Time from a request's headers to the last byte of its answer",
    ("route",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)

PROBES = frozenset({"/livez", "/readyz"})  # open without a key, and not worth a line of the log
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
LOGGED_PATH = 200  # characters
SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
SAFE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
API_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


class RequestMiddleware:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, trusted_proxies: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        """trusted_proxies: whose word on a client's address is believed."""
        self.app = app
        self.trusted_proxies = trusted_proxies
        self.draining = False  # set when the server is about to stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        client = client_address(scope, headers, self.trusted_proxies)
        answer = _ResponseRecorder(scope, send, _id_of(headers), client, closing=self.draining)
        token = request_id.set(answer.id)
        try:
            await self.app(scope, receive, answer.send)
        except Exception:
            # Starlette has answered 500 by now; here the fault gets into the log, with the request's id.
            logger.exception("a fault of the server")
        finally:
            answer.record()
            request_id.reset(token)


class AuthMiddleware:
    """ASGI middleware that lets requests with a known key pass, and probes.

    An answer that needed a key belongs to whoever has it and is marked so that no shared cache keeps it. Caches that
    follow the rules would not (RFC 9111, section 3.5), but for `public`; nginx's looks at no Authorization at all.
    """

    def __init__(self, app: ASGIApp, key_hashes: Sequence[str], refuse: Callable[[MintError], Response]) -> None:
        """key_hashes: SHA-256 in hexadecimal of each key. refuse: makes the answer of an error."""
        self.app = app
        self.key_hashes = key_hashes
        self.refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self.app(scope, receive, send)
            return

        async def send_privately(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                others = headers.get("cache-control", "").removeprefix("public, ")
                headers["cache-control"] = f"private, {others}" if others else "private"
                headers.add_vary_header("Authorization")
            await send(message)

        app = self._refusal(Headers(scope=scope)) or self.app
        await app(scope, receive, send_privately)

    def _refusal(self, headers: Headers) -> Response | None:
        """The refusal of a request without a known key; None for one that may pass."""
        try:
            check_key(headers.get("authorization"), self.key_hashes)
        except MintError as error:
            return self.refuse(error)
        return None


class _ResponseRecorder:
    """One answer on its way out: it gets its headers, and is counted, timed and logged."""

    def __init__(self, scope: Scope, send: Send, id: str, client: str | None, closing: bool) -> None:
        self.scope = scope
        self.id = id
        self._client = client
        self._send = send
        self._closing = closing
        self._status = 0  # until there is an answer, and for good when the client has left before
        self._started = time.perf_counter()

    async def send(self, message: Message) -> None:
        """ASGI's send."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = message["headers"]
            headers += SAFE_HEADERS
            headers.append((b"x-request-id", self.id.encode()))
            if not any(name == b"content-security-policy" for name, _ in headers):
                headers.append(API_POLICY)
            if self._closing:
                headers.append((b"connection", b"close"))
        await self._send(message)

    def record(self) -> None:
        """Counts the request, under its route and not its path, which could be anything; probes are not logged."""
        seconds = time.perf_counter() - self._started
        route = self.scope.get("route")
        path = "other" if route is None else route.path
        method = self.scope["method"] if self.scope["method"] in METHODS else "other"
        requests, histogram = _figures(path, method, self._status)
        requests.inc()
        histogram.observe(seconds)
        if path not in PROBES or self._status >= 500:
            _log(method, self.scope["path"], self._status, seconds, self._client)


@lru_cache(maxsize=1024)  # there are fewer routes, methods and statuses
def _figures(route: str, method: str, status: int) -> tuple[Counter, Histogram]:
    return REQUESTS.labels(route, method, status), SECONDS.labels(route)


def _log(method: str, path: str, status: int, seconds: float, client: str | None) -> None:
    """One line about a request. The record is made by hand: a logger would look for its caller, at each request."""
    if logger.isEnabledFor(logging.INFO):
        record = logging.LogRecord(
            logger.name, logging.INFO, __file__, 0, "%s %s %d", (method, path[:LOGGED_PATH], status), None
        )
        record.fields = {
            "client": client,
            "method": method,
            "path": path[:LOGGED_PATH],
            "status": status,
            "seconds": round(seconds, 6),
        }
        logger.handle(record)


def _id_of(headers: Headers) -> str:
    """The id that the client gave its request, if it may stand in a log, else a new one."""
    given = headers.get("x-request-id", "")
    return given if SAFE_ID.fullmatch(given) else f"{random.getrandbits(64):016x}"
