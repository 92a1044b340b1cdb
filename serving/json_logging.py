"""JSON logging: one object a line, with the request id, written so that a slow reader never blocks the service."""

import json
import logging
import os
import select
import threading
from collections import deque
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime

from pydantic_core import to_json

STDERR = 2
BUFFER_BYTES = 1 << 20  # of lines that wait to be written
ATOMIC_BYTES = select.PIPE_BUF  # that a writable pipe takes without blocking (pipe(7))

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


def configure_logging() -> None:
    """Send the logs of BentoML, uvicorn and Mint to stderr as JSON, in place of the handlers that they set up."""
    # Facts that no line shows need not be looked up for each (see "Optimization" in logging's documentation).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = NonBlockingHandler(STDERR)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in ("bentoml", "serving", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
        logger.setLevel(logging.INFO)
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)  # RequestMiddleware logs requests, with their ids


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON; `extra={"fields": {...}}` adds fields of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (current := request_id.get()) is not None:
            line["request_id"] = current
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        try:
            return to_json(line, fallback=str).decode()
        except ValueError:  # the bytes of a file name that are not UTF-8
            return json.dumps(line, default=str)


class NonBlockingHandler(logging.Handler):
    """Handler that writes lines to a file descriptor from a thread, and drops them when its buffer is full.

    A pipe that nobody reads is full after 64 KB, and a write to it blocks for ever, which would hang the event loop.
    Even a write that does not block releases the GIL, and then waits for the compute threads to get it back. The
    descriptor stays in blocking mode, since other processes may share it.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._queued_bytes = self._written_bytes = 0  # each is changed under one lock, this handler's and the one below
        self._write_lock = threading.Lock()
        self._dropped = self._reported = 0  # lines, likewise
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None  # started by the first line

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record for the writing thread, or drop it."""
        line = (self.format(record) + "\n").encode(errors="backslashreplace")
        if self._queued_bytes - self._written_bytes + len(line) > BUFFER_BYTES:
            self._dropped += 1
            return
        self._queued_bytes += len(line)
        self._lines.append(line)
        self._wake.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_loop, name="mint-log", daemon=True)
            self._thread.start()

    def flush(self) -> None:
        """Write as much as is possible without blocking."""
        with self._write_lock:
            while self._lines and self._wait_writable(0):
                self._write_some()
                if self._dropped > self._reported and not self._lines:
                    self._lines.append(self._report_dropped())

    def _write_some(self) -> None:
        """Write the first line, or the start of it."""
        line = self._lines.popleft()
        written = len(line)
        with suppress(OSError):  # nobody can read it any more
            written = os.write(self._descriptor, line[:ATOMIC_BYTES])
        self._written_bytes += written
        if line[written:]:
            self._lines.appendleft(line[written:])

    def _write_loop(self) -> None:
        while self._wake.wait():
            self._wake.clear()
            while self._lines:
                self._wait_writable(None)
                self.flush()

    def _wait_writable(self, timeout: float | None) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(timeout))

    def _report_dropped(self) -> bytes:
        """Format the line that says how many were dropped."""
        dropped = self._dropped
        text = f"{dropped - self._reported} lines of the log were dropped: nobody has read them"
        self._reported = dropped
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None)
        line = (self.format(record) + "\n").encode()
        self._written_bytes -= len(line)  # it takes no room in the buffer
        return line
