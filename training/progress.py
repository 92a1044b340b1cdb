"""How far a long loop has come: a bar in a terminal, a line every few seconds in a log."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Step = TypeVar("Step")

PLAIN_SECONDS = 5.0  # between lines where there is no terminal to redraw


def track(steps: Iterable[Step], total: int, doing: str) -> Iterator[Step]:
    """Passes `total` steps through, and shows on standard output how many have passed. doing: `preparing images`."""
    if sys.stdout.isatty():
        from rich.progress import track as bar  # loaded here, because a stage that has nothing to do starts faster

        yield from bar(steps, description=doing, total=total)
        return
    last = time.monotonic()
    for done, step in enumerate(steps, start=1):
        yield step
        if (now := time.monotonic()) - last >= PLAIN_SECONDS:
            print(f"{doing}: {done} of {total}", flush=True)
            last = now
