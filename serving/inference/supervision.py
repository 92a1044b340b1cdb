"""Supervision: a thread or a task that fails is logged, counted, shown by /readyz, and goes on."""

import logging
import threading
import time
from collections.abc import Callable

from prometheus_client import Counter

logger = logging.getLogger(__name__)

SHOWN_S = 10.0  # /readyz tells of a fault for as long: load balancers ask every few seconds
PAUSE_S = 0.1  # before a thread that has failed goes on: one that fails at each step must not take a core

FAULTS = Counter("mint_faults", "Failures of the service's own threads and tasks, outside of any request", ("part",))


class Faults:
    """The failures of one part of the service."""

    def __init__(self, part: str) -> None:
        """part: what fails, as people call it."""
        self.part = part
        self._last: str | None = None
        self._at = 0.0
        self._counted = FAULTS.labels(part)  # made now, so that /metrics has it at 0

    def report(self, error: BaseException) -> None:
        """Logs and counts a failure, and shows it for a while."""
        logger.error("the %s failed and goes on", self.part, exc_info=error)
        self._counted.inc()
        self._last = brief(error)
        self._at = time.monotonic()

    @property
    def recent(self) -> str | None:
        """A sentence about the last failure for as long as it is shown."""
        if self._last is None or time.monotonic() - self._at > SHOWN_S:
            return None
        return f"the {self.part} failed ({self._last}) and started again"


class Workers:
    """Daemon threads that repeat a step until it returns False, whatever it raises meanwhile."""

    def __init__(self, name: str, count: int, step: Callable[[], bool], faults: Faults) -> None:
        self.name = name
        self.count = count
        self.faults = faults
        self._step = step
        self._threads: list[threading.Thread] = []

    def ensure(self) -> None:
        """Starts the threads that are not there: at first all of them, later those that have ended all the same.

        Raises RuntimeError when the system gives no thread and none is there.
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

    @property
    def problem(self) -> str | None:
        """A sentence when threads have ended that should not have, or have failed lately."""
        if all(thread.is_alive() for thread in self._threads):
            return self.faults.recent
        return f"the {self.faults.part} has ended; the next request starts it again"

    def join(self) -> None:
        """Waits until the steps have returned False."""
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _work(self) -> None:
        going = True
        while going:
            try:
                going = self._step()
            except BaseException as error:  # no exception may end the thread that everybody waits for
                self.faults.report(error)
                time.sleep(PAUSE_S)


def brief(error: BaseException) -> str:
    """An exception in one short line."""
    text = " ".join(str(error).split())[:120]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
