"""Log lines that never hold up the service, whether somebody reads them or not."""

import logging
import os
import select
import threading
from collections import deque
from contextlib import suppress

ROOM_BYTES = 1 << 20  # of lines that wait for their reader
AT_ONCE = select.PIPE_BUF  # bytes that a pipe takes without waiting when it takes any (pipe(7))


class DroppingHandler(logging.Handler):
    """Handler that writes to a file descriptor what can be written at once, keeps the rest, and drops what is too much.

    A pipe that nobody reads is full after 64 KB, and a write to it waits for ever: on the event loop that would be the
    end of the service. The descriptor itself stays as it is, since other processes may share it.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._dropped = 0
        self._late = threading.Event()  # there is something for the thread
        self._thread: threading.Thread | None = None  # started when something has to wait for the first time

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record, now or later."""
        line = (self.format(record) + "\n").encode(errors="backslashreplace")
        if self._waiting_bytes + len(line) > ROOM_BYTES:
            self._dropped += 1
            return
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        self.flush()
        if self._waiting:
            self._late.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_later, name="mint-log", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Writes what can be written without waiting."""
        self.acquire()  # its lock is one that a thread may take again
        try:
            while self._waiting and self._writable(0):
                self._write_some()
            if self._dropped and not self._waiting:
                self._waiting.append(self._confession())
                self._dropped = 0
                self.flush()
        finally:
            self.release()

    def _write_some(self) -> None:
        """Writes the start of the first line that waits, or all of it."""
        line = self._waiting.popleft()
        written = len(line)
        with suppress(OSError):  # nobody can read it any more
            written = os.write(self._descriptor, line[:AT_ONCE])
        self._waiting_bytes = max(0, self._waiting_bytes - written)
        if line[written:]:
            self._waiting.appendleft(line[written:])

    def _write_later(self) -> None:
        """Waits for the reader, in a thread of its own."""
        while self._late.wait():
            self._late.clear()
            while self._waiting:
                self._writable(None)
                self.flush()

    def _writable(self, timeout: float | None) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(timeout))

    def _confession(self) -> bytes:
        text = f"{self._dropped} lines of the log were dropped: nobody has read them"
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None)
        return (self.format(record) + "\n").encode()
