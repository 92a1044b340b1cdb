"""Requests to stop a training run after its present step: by signals, or by the exit of the DVC process above it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from training import PARENT_PID


class StopRequest:
    """Flag that requests a graceful stop: set by a signal handler, or by the exit of the DVC process that started us.

    A signal to `dvc` alone does not reach its stages: the stage would keep running unseen, and its output would belong
    to no pipeline. So the loss of that parent process requests a stop too.
    """

    def __init__(self) -> None:
        self._signalled = False
        self._under_dvc = "DVC_STAGE" in os.environ

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Signal handler: only sets the flag."""
        self._signalled = True

    @property
    def requested(self) -> bool:
        """True if the run should stop after the current step."""
        return self._signalled or (self._under_dvc and os.getppid() != PARENT_PID)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Context in which Ctrl-C, SIGTERM, SIGHUP and the exit of DVC request a stop after the current step.

    Signals that are ignored stay ignored, as nohup expects.
    """
    request = StopRequest()
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    handled = {number: handler for number, handler in previous.items() if handler != signal.SIG_IGN}
    for number in handled:
        signal.signal(number, request)
    try:
        yield request
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)
