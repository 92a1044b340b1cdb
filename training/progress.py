"""Progress display of long loops: a bar in a terminal, a line every few seconds in a log."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Step = TypeVar("Step")

LINE_INTERVAL_SECONDS = 5.0  # between lines where there is no terminal


def track(steps: Iterable[Step], total: int, doing: str) -> Iterator[Step]:
    """Yield `total` steps and show on standard output how many are done. doing: for example `preparing images`."""
    if sys.stdout.isatty():
        from rich.progress import track as bar  # imported here, so that a stage that has nothing to do starts faster

        yield from bar(steps, description=doing, total=total)
        return
    last = time.monotonic()
    for done, step in enumerate(steps, start=1):
        yield step
        if (now := time.monotonic()) - last >= LINE_INTERVAL_SECONDS:
            print(f"{doing}: {done} of {total}", flush=True)
            last = now
