"""Progress display of long loops: a bar in a terminal, a line every few seconds in a log."""

import sys
import time
from collections.abc import Iterable, Iterator
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
