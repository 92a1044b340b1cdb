"""One request and its answer on a connection, and the way out to the client, as uvicorn's protocol uses them."""

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from serving.errors import ProtocolError

if TYPE_CHECKING:
    from serving.server.connection import ConnectionUsage, LimitedConnection

STATUS_LINE = b"HTTP/1.1 "  # how every answer starts
TCP_CLOSED = 7  # of Linux's states of a connection (include/net/tcp_states.h)
PROBE_AFTER_S = 0.05  # most answers are there before
FIRST_LOOK_S, LONGEST_LOOK_S = 0.05, 1.0


class RequestCycle(RequestResponseCycle):
    """uvicorn's cycle that counts its body, can fail while the body comes, and ends when its answer has been read."""

    def __init__(self, usage: "ConnectionUsage", **parts: Any) -> None:
        super().__init__(**parts)
        self.usage = usage
        self.held_bytes = 0
        self.failure: ProtocolError | None = None

    def hold(self, size: int) -> None:
        """Counts bytes of the body until the request is answered."""
        self.held_bytes += size
        self.usage.held_bytes += size

    def release(self) -> None:
        """Counts them no longer."""
        self.usage.held_bytes -= self.held_bytes
        self.held_bytes = 0

    def fail(self, error: ProtocolError) -> None:
        """Has whoever reads the body find that it will never be whole."""
        self.failure = error
        self.keep_alive = False
        self.body = bytearray()
        self.message_event.set()

    def disconnect(self) -> None:
        """Tells the app that its client is gone."""
        if not self.response_complete:
            self.disconnected = True
        self.message_event.set()

    async def run_asgi(self, app: ASGIApp) -> None:  # type: ignore[override]
        """Runs the app."""
        try:
            await super().run_asgi(app)  # type: ignore[arg-type]
        finally:
            self.release()

    async def receive(self) -> Message:  # type: ignore[override]
        """ASGI; raises ProtocolError where the body cannot become whole."""
        message: Any = None if self.failure else await super().receive()
        if self.failure and not self.disconnected and not self.response_complete:
            raise self.failure
        return message or {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:  # type: ignore[override]
        """ASGI; returns when the client has read what is sent, but for the last few kilobytes."""
        if message["type"] == "http.response.start" and self.waiting_for_100_continue and self.more_body:
            self.keep_alive = False  # nobody knows whether the client sends its body now (RFC 9110, section 10.1.1)
        await super().send(message)  # type: ignore[arg-type]
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()


class ResponseTransport:
    """A connection's transport, with `close` handed to the protocol, which lets the client read its answer first."""

    def __init__(self, transport: asyncio.Transport, protocol: "LimitedConnection") -> None:
        self.transport = transport
        self.closing = False
        self._protocol = protocol
        self._sent_ahead = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        """Sends data."""
        if self._sent_ahead:
            self._sent_ahead = False
            data = data.removeprefix(STATUS_LINE)
        self.transport.write(data)

    def close(self) -> None:
        """Sends what is to be sent and ends the connection."""
        if not self.closing:
            self.closing = True
            self._protocol.close()

    def close_now(self) -> None:
        """Sends what is to be sent and ends the connection, whatever the client still sends."""
        self.closing = True
        self.transport.close()

    def is_closing(self) -> bool:
        """Whether nothing more can be sent."""
        return self.closing or self.transport.is_closing()

    def probe(self) -> None:
        """Finds out whether a client that sends nothing more still reads, and aborts the connection where it does not.

        Both look the same until something is sent to the client. So an answer that is not there soon begins with what
        all answers begin with: the system of a client that is gone refuses it.
        """
        self._protocol.loop.call_later(PROBE_AFTER_S, self._begin_answer)

    def _begin_answer(self) -> None:
        if self._protocol.preparing and not self.is_closing():
            self.write(STATUS_LINE)
            self._sent_ahead = True
        self._look(FIRST_LOOK_S)

    def _look(self, again_s: float) -> None:
        if self.is_closing():
            return
        connection = self.get_extra_info("socket")
        with suppress(OSError, AttributeError):  # it is no TCP
            if connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSED:
                self._protocol.abort()
                return
        later = min(2 * again_s, LONGEST_LOOK_S)
        self._protocol.loop.call_later(again_s, self._look, later)
