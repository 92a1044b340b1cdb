"""Progress display of long steps: a bar in a terminal, a line every few seconds in a log."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")

LINE_INTERVAL_SECONDS = 5.0  # between lines where there is no terminal


def track(items: Iterable[T], total: int, description: str) -> Iterator[T]:
    """Yield the items, showing how many of `total` are done. description: for example `preparing images`."""
    if sys.stdout.isatty():
        from rich.progress import track as bar  # deferred: a stage that is up to date starts faster without it

        yield from bar(items, description=description, total=total)
        return
    last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if (now := time.monotonic()) - last >= LINE_INTERVAL_SECONDS:
            print(f"{description}: {done} of {total}", flush=True)
            last = now


@contextmanager
def heartbeat(description: str) -> Iterator[None]:
    """Context that prints a line every few seconds, so that a long step is not taken for a hang: `reading it: 10 s`."""
    started, done = time.monotonic(), Event()

    def beat() -> None:
        while not done.wait(LINE_INTERVAL_SECONDS):
            print(f"{description}: {time.monotonic() - started:.0f} s", flush=True)

    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
