"""What the drills share: the service started for one, promises, and the table that ends it."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.baselines import commands
from benchmarks.load.messages import READY
from benchmarks.load.servers import Server, started, wait_until_ready


@dataclass(frozen=True)
class Check:
    """What the service promises, what was seen, and whether that is what was promised."""

    what: str
    seen: str
    kept: bool


@contextmanager
def service(model: Path, scratch: Path, **settings: int) -> Iterator[Server]:
    """The service on a model file, with MINT_ variables beside the defaults, such as drain=1."""
    variables = {f"MINT_{name.upper()}": str(value) for name, value in settings.items()}
    environment = {"MINT_MODEL": str(model.resolve()), "MINT_PROVIDER": "cpu", **variables}
    with started(commands.MINT.name, commands.MINT.arguments, environment, scratch) as server:
        wait_until_ready(server, READY)
        yield server


def conclude(title: str, promises: Sequence[Check]) -> None:
    """Prints the table; exits with 1 when a promise was broken."""
    print(f"\n{title}")
    for promise in promises:
        print(f"  {'kept  ' if promise.kept else 'BROKEN'}  {promise.what:62}  {promise.seen}")
    if not all(promise.kept for promise in promises):
        sys.exit(1)
