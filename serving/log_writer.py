"""Log lines that never hold up the service, whether somebody reads them or not."""

import logging
import os
import select
import threading
from collections import deque
from contextlib import suppress

BUFFER_BYTES = 1 << 20  # of lines that wait for their reader
AT_ONCE = select.PIPE_BUF  # bytes that a pipe takes without waiting when it takes any (pipe(7))


class NonBlockingHandler(logging.Handler):
    """Handler whose lines a thread writes to a file descriptor; where nobody reads them, what is too much is dropped.

    A pipe that nobody reads is full after 64 KB, and a write to it waits for ever: on the event loop that would be the
    end of the service. Even a write that does not wait lets go of the interpreter, and takes it up again after whoever
    computes meanwhile. The descriptor itself stays as it is, since other processes may share it.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._waiting: deque[bytes] = deque()
        self._taken_bytes = self._written_bytes = 0  # each is changed under one lock, this handler's and the one below
        self._writing = threading.Lock()
        self._dropped = self._confessed = 0  # lines, likewise
        self._late = threading.Event()  # there is something for the thread
        self._thread: threading.Thread | None = None  # started by the first line

    def emit(self, record: logging.LogRecord) -> None:
        """Has a record written, soon."""
        line = (self.format(record) + "\n").encode(errors="backslashreplace")
        if self._taken_bytes - self._written_bytes + len(line) > BUFFER_BYTES:
            self._dropped += 1
            return
        self._taken_bytes += len(line)
        self._waiting.append(line)
        self._late.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_later, name="mint-log", daemon=True)
            self._thread.start()

    def flush(self) -> None:
        """Writes what can be written without waiting."""
        with self._writing:
            while self._waiting and self._writable(0):
                self._write_some()
                if self._dropped > self._confessed and not self._waiting:
                    self._waiting.append(self._confession())

    def _write_some(self) -> None:
        """Writes the start of the first line that waits, or all of it."""
        line = self._waiting.popleft()
        written = len(line)
        with suppress(OSError):  # nobody can read it any more
            written = os.write(self._descriptor, line[:AT_ONCE])
        self._written_bytes += written
        if line[written:]:
            self._waiting.appendleft(line[written:])

    def _write_later(self) -> None:
        """Waits for lines, and for their reader."""
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
        dropped = self._dropped
        text = f"{dropped - self._confessed} lines of the log were dropped: nobody has read them"
        self._confessed = dropped
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None)
        line = (self.format(record) + "\n").encode()
        self._written_bytes -= len(line)  # it takes no room
        return line
