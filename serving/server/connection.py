"""uvicorn's connection with limits on its client's time and on what all connections hold together.

When a limit on all of them is reached, those that have waited longest for their clients are closed.
"""

import asyncio
import ctypes
import math
from contextlib import suppress
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from serving.errors import ProtocolError
from serving.server.limits import MIN_PEAK_CONNECTIONS, SPARE_CONNECTIONS, ConnectionLimits, ConnectionUsage
from serving.server.request_cycle import RequestCycle, ResponseTransport

TRIM_AFTER_S = 0.5  # many connections end at once
malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: None)  # of glibc (malloc_trim(3))


class LimitedConnection(HttpToolsProtocol):
    """Time and memory limits of one connection; the subclass parses its requests."""

    cycle: RequestCycle

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
        usage: ConnectionUsage,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.limits = limits
        self.usage = usage
        self._in_head = False
        self._in_body = False
        self._refused = False  # the client sent no valid request, and more of it may arrive
        self._discarding = False  # all that still arrives is dropped
        self._half_closed = False  # the client has ended its side
        self._unread = False  # the last response is complete but not read
        self._dropped_bytes = 0
        # The request that is being answered; `cycle` is the last one that has arrived.
        self._running: RequestCycle | None = None
        self._awaited: str | None = None  # of the client: "head", "body", "request", "end" or nothing
        self._timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None

    def _refuse(self, error: ProtocolError) -> None:
        """Respond with an error and read nothing more."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection; above the limit, in place of the one that has kept the service waiting longest."""
        super().connection_made(ResponseTransport(transport, self))  # type: ignore[arg-type]
        self.usage.peak_connections = max(self.usage.peak_connections, len(self.connections))
        if len(self.connections) > self.limits.connections:
            longest = next(iter(self.usage.waiting), None)
            if longest is not None:
                longest.abort()
            elif len(self.connections) > self.limits.connections + SPARE_CONNECTIONS:
                return self.abort()
            else:
                return self._refuse(ProtocolError(503, "there are too many connections; try again in a moment"))
        self._await("head")
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Release what the connection holds."""
        self._await(None)
        self._forget_unread()
        for cycle, _ in self.pipeline:
            cycle.release()  # type: ignore[attr-defined]
        self.pipeline.clear()
        self._trim_memory()
        if self._running is not None:
            self._running.disconnect()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection for its responses if the client has ended only its own side (RFC 9112, section 9.6)."""
        if self._awaited == "end":
            return False
        truncated = ProtocolError(400, "the connection ended before the request was whole; send all of it")
        if self._in_head and not self._discarding:
            self._refuse(truncated)
        elif self._in_body and not self.cycle.response_complete:
            self.cycle.fail(truncated)
        self._in_head = self._in_body = self._refused = False  # nothing more will arrive
        self._half_closed = True
        self._discard_input()
        if not self._must_queue:
            return False
        self.cycle.keep_alive = False
        self.transport.probe()  # type: ignore[attr-defined]
        return True

    def _trim_memory(self) -> None:
        """Return memory to the system when most of many connections have ended, as glibc would keep it."""
        peak = self.usage.peak_connections
        if peak > MIN_PEAK_CONNECTIONS and len(self.connections) < peak / 2:
            self.usage.peak_connections = MIN_PEAK_CONNECTIONS
            self.loop.call_later(TRIM_AFTER_S, self.loop.run_in_executor, None, malloc_trim, 0)

    def abort(self) -> None:
        """End the connection at once."""
        self._await(None)
        self._forget_unread()
        self.connections.discard(self)  # now, though `connection_lost` is called later
        self.transport.abort()

    def close(self) -> None:
        """End the connection when its last response is sent and the client has stopped sending.

        A connection that is closed with unread input is reset, and the client may lose the response.
        """
        if self._in_head or self._in_body or self._refused:
            self._discard_input()
            self.flow.resume_reading()
            with suppress(OSError, RuntimeError):  # it has ended already
                self.transport.write_eof()
            self._await("end")
        else:
            self._await(None)
            self.transport.close_now()  # type: ignore[attr-defined]
        self._watch_unread()

    def shutdown(self) -> None:
        """End the connection, after the request in progress if there is one: the server is about to stop."""
        if self._must_queue:
            super().shutdown()
        else:
            self._in_head = self._in_body = self._refused = False
            self.transport.close_now()  # type: ignore[attr-defined]

    def _drop(self, size: int) -> None:
        """Count discarded bytes; a client that never stops sending them is disconnected."""
        self._dropped_bytes += size
        if self._dropped_bytes > self.limits.drained_bytes:
            self.abort()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Start the next request, or wait for one, as soon as the client has read the response."""
        self._unread = self.flow.write_paused
        if self._unread:
            return
        super().on_response_complete()
        self._await_client(idle="request")
        if self._half_closed and not self._must_queue:
            self.transport.close()

    @property
    def _must_queue(self) -> bool:
        """True while a new request has to wait: a connection holds one response at a time."""
        return self.cycle is not None and (self._unread or not self.cycle.response_complete)

    @property
    def awaits_response(self) -> bool:
        """True while the app has a request whose response has not started."""
        return self._running is not None and not self._running.response_started

    def _discard_input(self) -> None:
        """Ignore all further input, and wait for nothing more from the client."""
        self._discarding = True
        self._await(None)

    def _await_client(self, idle: str) -> None:
        """Start the time limit for the client's next input; idle: what is awaited between two requests."""
        if self._discarding:
            return
        if self._in_body:
            failed = self.cycle.failure is not None
            self._await(None if failed or self.pipeline else "body")
        elif self._in_head:
            self._await("head")
        else:
            self._await(None if self._must_queue else idle)

    def _await(self, awaited: str | None) -> None:
        if awaited == self._awaited:
            return
        self._awaited = awaited
        self.usage.waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if awaited is not None:
            self.usage.waiting[self] = None
            if awaited != "request":  # uvicorn has its own time limit for idle connections
                self._timer = self.loop.call_later(self.limits.read_s, self._on_timeout)

    def _on_timeout(self) -> None:
        """Handle a client that has not sent what was awaited in time."""
        awaited, seconds = self._awaited, f"{self.limits.read_s:g} s"
        self._await(None)
        if awaited == "head" and self._in_head:
            self._refuse(ProtocolError(408, f"the head of the request was not whole within {seconds}; send it at once"))
        elif awaited == "head":
            self.transport.close()
        elif awaited == "body" and not self.cycle.response_complete:
            self.cycle.fail(ProtocolError(408, f"the body was not whole within {seconds}; send it at once"))
        else:
            self.abort()

    def pause_writing(self) -> None:
        """Note a client that reads too slowly; when too much is unread in all, the slowest are disconnected."""
        super().pause_writing()
        self.usage.unread_bytes[self] = self.transport.get_write_buffer_size()
        self._watch_unread()
        while len(self.usage.unread_bytes) > 1 and sum(self.usage.unread_bytes.values()) > self.limits.unread_bytes:
            next(iter(self.usage.unread_bytes)).abort()

    def resume_writing(self) -> None:
        """Note that the client has read."""
        super().resume_writing()
        self._forget_unread()
        if self._unread:
            self.on_response_complete()

    def _forget_unread(self) -> None:
        self.usage.unread_bytes.pop(self, None)
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _watch_unread(self, before: float = math.inf) -> None:
        """Disconnect a client that has read nothing since the last check."""
        if self._unread_timer is not None:
            self._unread_timer.cancel()
        size = self.transport.get_write_buffer_size()
        if 0 < size < before:
            self._unread_timer = self.loop.call_later(self.limits.write_s, self._watch_unread, size)
        elif size:
            self.abort()
