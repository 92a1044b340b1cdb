"""Request-response cycle and transport of a connection: uvicorn's, with limits on the body and a lingering close."""

import asyncio
import socket
from contextlib import suppress
from typing import Any, Protocol

from starlette.types import ASGIApp, Message
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from serving.errors import ProtocolError
from serving.server.limits import ConnectionUsage

STATUS_LINE_START = b"HTTP/1.1 "  # of every response
TCP_CLOSED = 7  # state of a connection in Linux (include/net/tcp_states.h)
PROBE_AFTER_S = 0.05  # most responses have started before
FIRST_CHECK_S, MAX_CHECK_S = 0.05, 1.0


class RequestCycle(RequestResponseCycle):
    """uvicorn's cycle that counts its body, can fail while the body arrives, and ends when its response is read."""

    def __init__(self, usage: ConnectionUsage, **parts: Any) -> None:
        super().__init__(**parts)
        self.usage = usage
        self.held_bytes = 0
        self.failure: ProtocolError | None = None

    def hold(self, size: int) -> None:
        """Count bytes of the body until the response is complete."""
        self.held_bytes += size
        self.usage.held_bytes += size

    def release(self) -> None:
        """Stop counting the bytes of the body."""
        self.usage.held_bytes -= self.held_bytes
        self.held_bytes = 0

    def fail(self, error: ProtocolError) -> None:
        """Have `receive` raise an error, as the body will never be complete."""
        self.failure = error
        self.keep_alive = False
        self.body = bytearray()
        self.message_event.set()

    def disconnect(self) -> None:
        """Tell the app that its client has disconnected."""
        if not self.response_complete:
            self.disconnected = True
        self.message_event.set()

    async def run_asgi(self, app: ASGIApp) -> None:  # type: ignore[override]
        """Run the app."""
        try:
            await super().run_asgi(app)  # type: ignore[arg-type]
        finally:
            self.release()

    async def receive(self) -> Message:  # type: ignore[override]
        """Receive an ASGI message; raises ProtocolError if the body cannot be completed."""
        message: Any = None if self.failure else await super().receive()
        if self.failure and not self.disconnected and not self.response_complete:
            raise self.failure
        return message or {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:  # type: ignore[override]
        """Send an ASGI message; returns when the client has read all but its last few kilobytes."""
        if message["type"] == "http.response.start" and self.waiting_for_100_continue and self.more_body:
            self.keep_alive = False  # the client may or may not send its body now (RFC 9110, section 10.1.1)
        await super().send(message)  # type: ignore[arg-type]
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()


class TransportOwner(Protocol):
    """The parts of a connection that its transport calls."""

    loop: asyncio.AbstractEventLoop

    @property
    def awaits_response(self) -> bool:
        """True while the app has a request whose response has not started."""

    def close(self) -> None:
        """End the connection when the client has read its response."""

    def abort(self) -> None:
        """End the connection at once."""


class ResponseTransport:
    """Transport whose `close` goes to the protocol, which lets the client read its response first."""

    def __init__(self, transport: asyncio.Transport, protocol: TransportOwner) -> None:
        self.transport = transport
        self.closing = False
        self._protocol = protocol
        self._sent_ahead = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        """Send data."""
        if self._sent_ahead:
            self._sent_ahead = False
            data = data.removeprefix(STATUS_LINE_START)
        self.transport.write(data)

    def close(self) -> None:
        """Send buffered data and end the connection, once."""
        if not self.closing:
            self.closing = True
            self._protocol.close()

    def close_now(self) -> None:
        """Send buffered data and end the connection, whatever the client still sends."""
        self.closing = True
        self.transport.close()

    def is_closing(self) -> bool:
        """Return whether nothing more can be sent."""
        return self.closing or self.transport.is_closing()

    def probe(self) -> None:
        """Check that a client that has ended its side still reads, and abort the connection if it does not.

        Both look the same until something is sent to the client. So the start that all responses share is sent before
        a response that takes long: the system of a client that is gone rejects it.
        """
        self._protocol.loop.call_later(PROBE_AFTER_S, self._send_ahead)

    def _send_ahead(self) -> None:
        if self._protocol.awaits_response and not self.is_closing():
            self.write(STATUS_LINE_START)
            self._sent_ahead = True
        self._check_connection(FIRST_CHECK_S)

    def _check_connection(self, delay_s: float) -> None:
        """Abort a connection that the peer has reset, and check again after a delay that doubles."""
        if self.is_closing():
            return
        connection = self.get_extra_info("socket")
        with suppress(OSError, AttributeError):  # not TCP
            if connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSED:
                self._protocol.abort()
                return
        self._protocol.loop.call_later(delay_s, self._check_connection, min(2 * delay_s, MAX_CHECK_S))
