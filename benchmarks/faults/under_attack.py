"""Fault test: under each attack, /livez and a plain image must respond within a second, and memory must be released.

    python -m benchmarks.faults.under_attack [--seconds N] [NAME ...]

The attacks of `attacks` run one after another against one service, each in a process of its own. Meanwhile /livez and a
single image are probed on new connections, and the service's memory is sampled.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults.attacks import ATTACKS
from benchmarks.faults.fault_test import Check, report_checks, service
from benchmarks.faults.overload import MemoryMonitor
from benchmarks.load.http_client import CONNECTION_ERRORS, NPY, ONE_PNG, Connection, Request
from benchmarks.load.servers import Server
from training import paths
from training.stage import run_stage

LIVE = Request("GET", "/livez")
PROBE_EVERY_S = 0.1
MAX_LATENCY_MS = 1000
MAX_MEMORY_LEFT = 50e6  # bytes above those before the attack
SETTLE_S = 30
PROBE_TIMEOUT_S = 30
WARM_UP_REQUESTS = 50


@dataclass
class Probe:
    """Latency of one request, sent again and again on new connections."""

    request: bytes
    times_ms: list[float] = field(default_factory=list)
    failed: int = 0  # no complete response, or a status other than 200

    async def run(self, port: int) -> None:
        """Send the request until cancelled."""
        while True:
            began = time.perf_counter()
            try:
                async with asyncio.timeout(PROBE_TIMEOUT_S):
                    self.failed += not await succeeds(port, self.request)
            except (*CONNECTION_ERRORS, OSError):
                self.failed += 1
            self.times_ms.append(1000 * (time.perf_counter() - began))
            await asyncio.sleep(PROBE_EVERY_S)


@dataclass(frozen=True)
class AttackResult:
    """Observations during one attack."""

    name: str
    live: Probe
    image: Probe
    memory: tuple[float, float, float]  # MB before, peak, and after
    exit_status: int  # of the attacker


def main() -> None:
    """Run the test and print its checks."""
    parser = argparse.ArgumentParser(description="the service under attack")
    parser.add_argument("names", nargs="*", help=f"attacks, of {', '.join(ATTACKS)}; without one all of them")
    parser.add_argument("--seconds", type=float, default=8, help="duration of each attack")
    options = parser.parse_args()
    names = options.names or list(ATTACKS)
    results = asyncio.run(run_test(paths.MODEL, names, options.seconds))
    report_checks(f"under attack, {options.seconds:g} s each: /livez and an image within a second", evaluate(results))


async def run_test(model: Path, names: Sequence[str], seconds: float) -> list[AttackResult]:
    """Run the named attacks against one service."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "models"
        folder.mkdir()
        copy = Path(shutil.copy(model, folder))
        with service(copy, Path(scratch)) as server:
            for _ in range(WARM_UP_REQUESTS):
                await succeeds(server.port, ONE_PNG.to_bytes([7]))
                await succeeds(server.port, NPY.to_bytes(range(64)))
            return [await one_attack(server, name, folder, seconds) for name in names]


async def one_attack(server: Server, name: str, folder: Path, seconds: float) -> AttackResult:
    """Run one attack, then wait until the memory is released, at most SETTLE_S."""
    memory = MemoryMonitor(server.stats)
    live, image = Probe(LIVE.to_bytes()), Probe(ONE_PNG.to_bytes([7]))
    probes = [asyncio.create_task(each) for each in (live.run(server.port), image.run(server.port), memory.run())]
    arguments = ["-m", "benchmarks.faults.attacks", name, str(server.port), str(folder), str(seconds)]
    attacker = await asyncio.create_subprocess_exec(sys.executable, *arguments)
    try:
        status = await attacker.wait()
    finally:
        with suppress(ProcessLookupError):
            attacker.kill()
        for task in probes:
            task.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
    deadline = time.monotonic() + SETTLE_S
    while memory.process.memory > memory.start + MAX_MEMORY_LEFT and time.monotonic() < deadline:
        await asyncio.sleep(PROBE_EVERY_S)
    after = memory.process.memory
    return AttackResult(name, live, image, (memory.start / 1e6, memory.peak / 1e6, after / 1e6), status)


async def succeeds(port: int, request: bytes) -> bool:
    """Send a request on a connection of its own; True for status 200."""
    connection = await Connection.open(port)
    try:
        return (await connection.send(request)).status == 200
    finally:
        connection.close()


def evaluate(results: Sequence[AttackResult]) -> list[Check]:
    """Compare the observations during each attack with the requirements."""
    checks = []
    for result in results:
        live, image = (max(probe.times_ms, default=float("inf")) for probe in (result.live, result.image))
        failed = result.live.failed + result.image.failed
        probes = len(result.live.times_ms) + len(result.image.times_ms)
        before, peak, after = result.memory
        released = after <= before + MAX_MEMORY_LEFT / 1e6
        checks.append(
            Check(
                result.name,
                f"/livez {live:4.0f} ms, image {image:4.0f} ms, {failed} of {probes} failed, "
                f"memory {before:.0f}, peak {peak:.0f}, then {after:.0f} MB",
                max(live, image) < MAX_LATENCY_MS and released and not failed and not result.exit_status,
            )
        )
    return checks


if __name__ == "__main__":
    run_stage(main)
