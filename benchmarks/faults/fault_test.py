"""Harness of the fault tests: the service under test, checks, and the table of results."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.baselines import commands
from benchmarks.load.http_client import READY
from benchmarks.load.servers import Server, running_server, wait_until_ready


@dataclass(frozen=True)
class Check:
    """Requirement of a fault test, the observation in words, and whether it meets the requirement."""

    requirement: str
    observed: str
    passed: bool


@contextmanager
def service(model: Path, scratch: Path, **settings: int) -> Iterator[Server]:
    """Run the service on a model file; settings: MINT_ variables, such as drain=1."""
    variables = {f"MINT_{name.upper()}": str(value) for name, value in settings.items()}
    environment = {"MINT_MODEL": str(model.resolve()), "MINT_PROVIDER": "cpu", **variables}
    with running_server(commands.MINT.name, commands.MINT.arguments, environment, scratch) as server:
        wait_until_ready(server, READY)
        yield server


def status_counts(statuses: Mapping[int, int]) -> str:
    """Number of responses by status, as `9 x 200, 1 x 429`."""
    return ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))


def report_checks(title: str, checks: Sequence[Check]) -> None:
    """Print the table; exit with 1 when a check failed."""
    print(f"\n{title}")
    for check in checks:
        print(f"  {'passed' if check.passed else 'FAILED'}  {check.requirement:62}  {check.observed}")
    if not all(check.passed for check in checks):
        sys.exit(1)
