"""Supervised threads: a failure is logged, counted and shown by /readyz, and the thread goes on."""

import logging
import threading
import time
from collections.abc import Callable

from prometheus_client import Counter

logger = logging.getLogger(__name__)

REPORT_S = 10.0  # /readyz shows a failure for this long: load balancers poll every few seconds
RESTART_DELAY_S = 0.1  # a thread that fails at each step must not take a core

FAULTS = Counter("mint_faults", "Failures of the service's own threads and tasks, outside of any request", ("part",))


class FaultReporter:
    """Reporter of the failures of one part of the service, to the log, a counter and /readyz."""

    def __init__(self, part: str) -> None:
        """part: its name in logs, metrics and sentences."""
        self.part = part
        self._last: str | None = None
        self._at = 0.0
        self._counter = FAULTS.labels(part)  # created now, so that /metrics has it at 0

    def report(self, error: BaseException) -> None:
        """Log and count a failure, and show it for a while."""
        logger.error("the %s failed and goes on", self.part, exc_info=error)
        self._counter.inc()
        self._last = one_line(error)
        self._at = time.monotonic()

    @property
    def recent(self) -> str | None:
        """A sentence about the last failure for as long as it is shown."""
        if self._last is None or time.monotonic() - self._at > REPORT_S:
            return None
        return f"the {self.part} failed ({self._last}) and started again"


class WorkerThreads:
    """Daemon threads that repeat a step until it returns False, whatever it raises."""

    def __init__(self, name: str, count: int, step: Callable[[], bool], faults: FaultReporter) -> None:
        self.name = name
        self.count = count
        self.faults = faults
        self.complete = False  # all of them run; an attribute, since every request reads it
        self._step = step
        self._threads: list[threading.Thread] = []

    def start_missing(self) -> None:
        """Start the threads that do not run: at first all of them, later those that have ended unexpectedly.

        Raises RuntimeError when the system gives no thread and none runs.
        """
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        while len(self._threads) < self.count:
            thread = threading.Thread(target=self._work, name=self.name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                self.faults.report(error)
                if not self._threads:
                    raise
                return
            self._threads.append(thread)
        self.complete = True

    @property
    def problem(self) -> str | None:
        """A sentence when threads have ended that should run, or have failed lately."""
        if all(thread.is_alive() for thread in self._threads):
            return self.faults.recent
        self.complete = False
        return f"the {self.faults.part} has ended; the next request starts it again"

    def join(self) -> None:
        """Wait until the steps have returned False."""
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _work(self) -> None:
        try:
            running = True
            while running:
                try:
                    running = self._step()
                except BaseException as error:  # no exception may end a thread that every request waits for
                    self.faults.report(error)
                    time.sleep(RESTART_DELAY_S)
        finally:
            self.complete = False


def one_line(error: BaseException) -> str:
    """An exception in one short line."""
    text = " ".join(str(error).split())[:120]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
