"""HTTP/1.1 protocol: uvicorn's httptools protocol with limits and stricter parsing, before any key is checked.

The limits are on the size of a head, the number of headers, pipelined requests and bodies in progress. Malformed
HTTP/1.1 is refused, so that no request is one for a proxy in front and two for this server (request smuggling).
`Upgrade` is ignored (RFC 9110, section 7.8).
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import httptools
from starlette.types import Receive, Scope, Send

from serving.errors import ProtocolError
from serving.http.exception_handlers import error_response
from serving.http.middleware import RequestMiddleware
from serving.server.connection import LimitedConnection
from serving.server.limits import ConnectionLimits, ConnectionUsage
from serving.server.request_cycle import RequestCycle
from serving.server.request_head import MAX_TARGET, check_head, check_target, describe_parser_error
from serving.settings import Settings

PIECE = 4096  # bytes that are parsed at a time, so that limits are checked in between
SMALL_BODY = 1 << 14  # bytes of each body that are accepted, however many are held
EXTRA_PER_BYTE = 8  # of chunk extensions and the like, for bodies in tiny chunks


def protocol_for(settings: Settings) -> Callable[..., "RequestProtocol"]:
    """Return the factory with which uvicorn makes the protocol of each connection."""
    return partial(RequestProtocol, limits=ConnectionLimits.of(settings), usage=ConnectionUsage())


class RequestProtocol(LimitedConnection):
    """Parser of the requests of one connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._counted_bytes = 0  # of complete headers
        self._body_bytes = 0
        self._extra_bytes = 0  # of a body: chunk extensions and trailers
        self._upgrade = False  # the parser is about to stop at an Upgrade header
        self._callback_error: ProtocolError | None = None  # raised in a callback of the parser

    def data_received(self, data: bytes) -> None:
        """Parse received data, piece by piece."""
        self._unset_keepalive_if_required()
        for start in range(0, len(data), PIECE):
            if self._discarding:
                self._drop(len(data) - start)
                return
            self._feed(data[start : start + PIECE])
        self._await_client(idle="head")

    def _feed(self, piece: bytes) -> None:
        """Parse a piece, which calls the callbacks below."""
        was_in_body, body_bytes = self._in_body, self._body_bytes
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(piece[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if not self._discarding:
                self._refuse(self._callback_error or ProtocolError(400, describe_parser_error(error)))
            return
        if self._in_head:
            self._head_bytes += len(piece)
            if self._head_bytes > self.limits.head_bytes + PIECE:
                self._refuse(self._head_too_large)
        elif was_in_body and self._in_body:
            self._extra_bytes += len(piece) - (self._body_bytes - body_bytes)
            if self._extra_bytes > self.limits.head_bytes + EXTRA_PER_BYTE * self._body_bytes:
                self._refuse(ProtocolError(400, "the body is nearly all chunk extensions or trailers; leave them out"))

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Parse the request again without the Upgrade header at which the parser stopped, and then what follows."""
        head = [b"%b %b HTTP/1.1\r\n" % (self.parser.get_method(), self.url)]
        head += [b"%b: %b\r\n" % field for field in self.headers if field[0] != b"upgrade"]
        self._upgrade = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._feed(b"".join(head) + b"\r\n")
        if rest and not self._discarding:
            self._feed(rest)

    def on_message_begin(self) -> None:
        """Start a request head."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = self._counted_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Append a part of the request target."""
        super().on_url(url)
        if len(self.url) > MAX_TARGET:
            self._stop(ProtocolError(414, f"the address is longer than {MAX_TARGET} bytes; send a POST with a body"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header of the head; trailers, which follow the body, are dropped."""
        if not self._in_head:
            return
        self._counted_bytes += len(name) + len(value) + 4
        if self._counted_bytes > self.limits.head_bytes or len(self.headers) >= self.limits.headers:
            self._stop(self._head_too_large)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the complete head and start the request, after those before it."""
        method, version = self.parser.get_method().decode("ascii"), self.parser.get_http_version()
        if self.parser.should_upgrade() and method != "CONNECT":
            self._upgrade = True
            return
        try:
            check_head(method, version, self.headers)
            path, raw_path, query = check_target(method, self.url)
        except ProtocolError as error:
            self._stop(error)
        if len(self.pipeline) >= self.limits.pipelined:
            self.cycle.keep_alive = False  # the client sends the others again, on another connection
            self._discard_input()
            self._stop(ProtocolError(400, "too many requests are sent ahead"))
        scope: Any = self.scope
        scope |= {"method": method, "http_version": version, "path": path, "raw_path": raw_path, "query_string": query}
        self._in_head, self._in_body = False, True
        self._body_bytes = self._extra_bytes = 0
        keep_alive = version != "1.0" and self.parser.should_keep_alive()
        self._begin(self._new_cycle(scope, keep_alive, self.expect_100_continue), self.app)

    def on_body(self, body: bytes) -> None:
        """Append a part of the body, or discard it."""
        self._body_bytes += len(body)
        if self.cycle.response_complete or self.cycle.failure:
            self._drop(len(body))
            return
        self.cycle.hold(len(body))
        if self.usage.held_bytes > self.limits.held_bytes and self.cycle.held_bytes > SMALL_BODY:
            self.cycle.fail(ProtocolError(503, "too many large bodies are being sent at once; try again in a moment"))
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        if self._upgrade:
            return
        self._in_body = False
        super().on_message_complete()
        if not self.parser.should_keep_alive():
            self._discard_input()  # the client has said that it is its last one

    @property
    def _head_too_large(self) -> ProtocolError:
        size = f"{self.limits.head_bytes} bytes or {self.limits.headers} headers"
        return ProtocolError(431, f"the head of the request has more than {size}; send fewer or shorter headers")

    def _stop(self, error: ProtocolError) -> NoReturn:
        """Raise an error from a callback, which stops the parser."""
        self._callback_error = error
        raise error

    def _new_cycle(self, scope: Any, keep_alive: bool, expect_100_continue: bool = False) -> RequestCycle:
        return RequestCycle(
            self.usage,
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,  # RequestMiddleware writes it
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=expect_100_continue,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )

    def _begin(self, cycle: RequestCycle, app: Any) -> None:
        """Run a request now, or after those before it."""
        must_queue = self._must_queue
        self.cycle = cycle
        if must_queue:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, app))
        else:
            self._start_asgi_task(cycle, app)

    def _refuse(self, error: ProtocolError) -> None:
        """Respond to an invalid request with an error, after the responses before it, and read nothing more."""
        self._refused = True
        self._discard_input()
        if self._in_body and not self.cycle.response_complete:
            self.cycle.fail(error)
            return
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "unknown",
            "scheme": self.scheme,
            "server": self.server,
            "client": self.client,
            "path": "",
            "raw_path": b"",
            "root_path": "",
            "query_string": b"",
            "headers": [],
        }

        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            await error_response(error)(scope, receive, send)

        self._begin(self._new_cycle(scope, keep_alive=False), RequestMiddleware(respond))
