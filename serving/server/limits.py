"""Limits of one connection, and of all connections together with what they use at the moment."""

import resource
from dataclasses import dataclass, field
from typing import Protocol

from serving.settings import Settings

SPARE_CONNECTIONS = 64  # beyond the limit, to respond that it is reached
OTHER_FILES = 128 + SPARE_CONNECTIONS  # that the process has open: models, libraries, its log
SHARE_OF_TIMEOUT = 0.9  # so that a late body is reported as one, and not as images that took too long
MIN_PEAK_CONNECTIONS = 256  # fewer hold too little memory to matter


@dataclass(frozen=True)
class ConnectionLimits:
    """Bounds on one connection, and on all of them together."""

    connections: int = 4096
    read_s: float = 30  # for a whole head, for a whole body, and for a client to close after its last response
    write_s: float = 30  # without a byte of a response being read
    head_bytes: int = 24 << 10
    headers: int = 100
    pipelined: int = 16  # requests that wait for the response to the one before
    held_bytes: int = 128 << 20  # of bodies in progress, over all connections
    unread_bytes: int = 128 << 20  # of responses, over all connections
    drained_bytes: int = 64 << 20  # of a body that is discarded, so that its client sees the response

    @classmethod
    def of(cls, settings: Settings) -> "ConnectionLimits":
        """Return the limits that the settings state, within the open files that the system allows this process."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return cls(
            connections=max(1, min(settings.max_connections, files - OTHER_FILES)),
            read_s=min(settings.read_timeout, SHARE_OF_TIMEOUT * settings.timeout),
            write_s=settings.write_timeout,
        )


class Abortable(Protocol):
    """A connection that can be ended to make room for others."""

    def abort(self) -> None:
        """End it at once."""


@dataclass
class ConnectionUsage:
    """Totals over all connections of a server. Dicts serve as ordered sets, the longest waiting first."""

    held_bytes: int = 0
    unread_bytes: dict[Abortable, int] = field(default_factory=dict)
    waiting: dict[Abortable, None] = field(default_factory=dict)  # for their clients to send something
    peak_connections: int = MIN_PEAK_CONNECTIONS  # since memory was last returned to the system
