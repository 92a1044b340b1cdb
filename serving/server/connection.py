"""A connection and its limits: on the time that its client takes, and on what all connections hold together.

Where a limit on all of them is reached, those give way for whom the service has waited longest.
"""

import asyncio
import ctypes
import math
import resource
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from serving.errors import ProtocolError
from serving.server.request_cycle import RequestCycle, ResponseTransport
from serving.settings import Settings

SPARE_CONNECTIONS = 64  # beyond the limit, to say that it is reached
OTHER_FILES = 128 + SPARE_CONNECTIONS  # that the process has open: models, libraries, its log
SHARE_OF_TIMEOUT = 0.9  # a body that is late is told from images that are


MANY_CONNECTIONS = 256  # from here on, connections hold memory to speak of
GIVE_BACK_AFTER_S = 0.5  # many end at once
malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: None)  # of glibc (malloc_trim(3))


@dataclass(frozen=True)
class ConnectionLimits:
    """Bounds on one connection, and on all of them together."""

    connections: int = 4096
    read_s: float = 30  # for a whole head, for a whole body, and for the end of a client that has its last answer
    write_s: float = 30  # without a byte of an answer being read
    head_bytes: int = 24 << 10
    headers: int = 100
    ahead: int = 16  # requests that wait for the answer of the one before
    held_bytes: int = 128 << 20  # of bodies whose requests are not answered, over all connections
    unread_bytes: int = 128 << 20  # of answers, over all connections
    drained_bytes: int = 64 << 20  # of a body that nobody wants, so that its client sees the answer

    @classmethod
    def of(cls, settings: Settings) -> "ConnectionLimits":
        """The bounds that the settings ask for, within the open files that the system allows this process."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return cls(
            connections=max(1, min(settings.max_connections, files - OTHER_FILES)),
            read_s=min(settings.read_timeout, SHARE_OF_TIMEOUT * settings.timeout),
            write_s=settings.write_timeout,
        )


@dataclass
class ConnectionUsage:
    """What all connections of a server hold. The first of an order is the one that has waited longest."""

    held_bytes: int = 0
    unread_bytes: dict["LimitedConnection", int] = field(default_factory=dict)
    waiting: dict["LimitedConnection", None] = field(default_factory=dict)  # for their clients to send something
    most_connections: int = MANY_CONNECTIONS  # since memory was last given back


class LimitedConnection(HttpToolsProtocol):
    """One connection: who is waited for, and for how long. What is said on it is the subclass's."""

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
        self._refused = False  # what was sent is no request, and more of it may come
        self._deaf = False  # nothing that comes is looked at any more
        self._ended = False  # the client has ended its side
        self._unread = False  # the last answer has been made and not been read
        self._dropped_bytes = 0
        self._running: RequestCycle | None = (
            None  # the request that is being answered; `cycle` is the last one that has come
        )
        self._awaited: str | None = None  # what the client has to send: "head", "body", "request", "end" or nothing
        self._timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None

    def _refuse(self, error: ProtocolError) -> None:
        """Answers with an error and reads nothing more."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes a connection; when there are too many, instead of the one that has been waited for longest."""
        super().connection_made(ResponseTransport(transport, self))  # type: ignore[arg-type]
        self.usage.most_connections = max(self.usage.most_connections, len(self.connections))
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
        """Forgets the connection and gives back what it holds."""
        self._await(None)
        self._forget_unread()
        for cycle, _ in self.pipeline:
            cycle.release()  # type: ignore[attr-defined]
        self.pipeline.clear()
        self._give_memory_back()
        if self._running is not None:
            self._running.disconnect()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keeps the connection for the answers of a client that has ended only its own side (RFC 9112, section 9.6)."""
        if self._awaited == "end":
            return False
        cut = ProtocolError(400, "the connection ended before the request was whole; send all of it")
        if self._in_head and not self._deaf:
            self._refuse(cut)
        elif self._in_body and not self.cycle.response_complete:
            self.cycle.fail(cut)
        self._in_head = self._in_body = self._refused = False  # nothing more will come
        self._ended = True
        self._listen_no_more()
        if not self._unanswered:
            return False
        self.cycle.keep_alive = False
        self.transport.probe()  # type: ignore[attr-defined]
        return True

    def _give_memory_back(self) -> None:
        """Has the C library return what many connections held, when most of them are gone: by itself it keeps it."""
        most = self.usage.most_connections
        if most > MANY_CONNECTIONS and len(self.connections) < most / 2:
            self.usage.most_connections = MANY_CONNECTIONS
            self.loop.call_later(GIVE_BACK_AFTER_S, self.loop.run_in_executor, None, malloc_trim, 0)

    def abort(self) -> None:
        """Ends the connection at once."""
        self._await(None)
        self._forget_unread()
        self.connections.discard(self)  # it counts no longer, though the event loop tells of its end later
        self.transport.abort()

    def close(self) -> None:
        """Ends the connection when its last answer is sent, and all that may still come before has been taken in.

        A connection that is closed with something unread is reset, and the client may lose the answer.
        """
        if self._in_head or self._in_body or self._refused:
            self._listen_no_more()
            self.flow.resume_reading()
            with suppress(OSError, RuntimeError):  # it has ended by itself
                self.transport.write_eof()
            self._await("end")
        else:
            self._await(None)
            self.transport.close_now()  # type: ignore[attr-defined]
        self._watch_unread()

    def shutdown(self) -> None:
        """Ends the connection after the request in progress, where there is one: the server is about to stop."""
        if self._unanswered:
            super().shutdown()
        else:
            self._in_head = self._in_body = self._refused = False
            self.transport.close_now()  # type: ignore[attr-defined]

    def _drop(self, size: int) -> None:
        """Counts what nobody reads; a client that never stops sending it is cut off."""
        self._dropped_bytes += size
        if self._dropped_bytes > self.limits.drained_bytes:
            self.abort()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """An answer has been handed over: when it has been read, the next request begins, or is awaited."""
        self._unread = self.flow.write_paused
        if self._unread:
            return
        super().on_response_complete()
        self._await_client(idle="request")
        if self._ended and not self._unanswered:
            self.transport.close()

    @property
    def _unanswered(self) -> bool:
        """Whether a new request has to wait: a connection holds one answer at a time."""
        return self.cycle is not None and (self._unread or not self.cycle.response_complete)

    @property
    def preparing(self) -> bool:
        """Whether an answer is awaited from the app and has not begun."""
        return self._running is not None and not self._running.response_started

    def _listen_no_more(self) -> None:
        """Takes what is still sent for nothing, and waits for nothing more from the client."""
        self._deaf = True
        self._await(None)

    def _await_client(self, idle: str) -> None:
        """Watches what is to come from the client; idle: what that is between two requests."""
        if self._deaf:
            return
        if self._in_body:
            failed = self.cycle.failure is not None
            self._await(None if failed or self.pipeline else "body")
        elif self._in_head:
            self._await("head")
        else:
            self._await(None if self._unanswered else idle)

    def _await(self, what: str | None) -> None:
        if what == self._awaited:
            return
        self._awaited = what
        self.usage.waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if what is not None:
            self.usage.waiting[self] = None
            if what != "request":  # for which uvicorn has its own time limit, of idle connections
                self._timer = self.loop.call_later(self.limits.read_s, self._on_late)

    def _on_late(self) -> None:
        """What was awaited has not come."""
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
        """The client does not read as fast as it is answered; where too much is unread, the slowest are cut off."""
        super().pause_writing()
        self.usage.unread_bytes[self] = self.transport.get_write_buffer_size()
        self._watch_unread()
        while len(self.usage.unread_bytes) > 1 and sum(self.usage.unread_bytes.values()) > self.limits.unread_bytes:
            next(iter(self.usage.unread_bytes)).abort()

    def resume_writing(self) -> None:
        """The client has read."""
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
        """Cuts off a client that has read nothing since the look before."""
        if self._unread_timer is not None:
            self._unread_timer.cancel()
        size = self.transport.get_write_buffer_size()
        if 0 < size < before:
            self._unread_timer = self.loop.call_later(self.limits.write_s, self._watch_unread, size)
        elif size:
            self.abort()
