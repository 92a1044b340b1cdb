"""The service under attack: it is alive, still draws a plain picture within a second, and its memory comes back.

    python -m benchmarks.faults.under_attack [--seconds N] [NAME ...]

Each attack of `attacks` goes on for a while, one after another on one service, in a process of its own. Meanwhile
/livez and a plain picture are asked for, each on a new connection, and the service's memory is watched.
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
from benchmarks.faults.fault_test import Check, conclude, service
from benchmarks.faults.overload import Watched
from benchmarks.load.connection import BROKEN, Connection
from benchmarks.load.messages import ONE_PNG, PIXELS, Request
from benchmarks.load.servers import Server
from training import paths
from training.stage import run_stage

LIVE = Request("GET", "/livez")
EVERY_S = 0.1
LIMIT_MS = 1000
MEMORY_BACK = 50e6  # bytes above what it was before
SETTLE_S = 30
GIVE_UP_S = 30  # on one answer
WARM_UP = 50


@dataclass
class Probe:
    """The answers to one request, asked again and again on new connections."""

    request: bytes
    times_ms: list[float] = field(default_factory=list)
    failed: int = 0  # no whole answer, or another status than 200

    async def ask(self, port: int) -> None:
        """Asks until it is cancelled."""
        while True:
            began = time.perf_counter()
            try:
                async with asyncio.timeout(GIVE_UP_S):
                    self.failed += not await answered(port, self.request)
            except (*BROKEN, OSError):
                self.failed += 1
            self.times_ms.append(1000 * (time.perf_counter() - began))
            await asyncio.sleep(EVERY_S)


@dataclass(frozen=True)
class Seen:
    """What one attack did."""

    name: str
    live: Probe
    picture: Probe
    memory: tuple[float, float, float]  # MB before, at most, and in the end
    attacker: int  # its exit status


def main() -> None:
    """Attacks the service and says how it took it."""
    parser = argparse.ArgumentParser(description="the service under attack")
    parser.add_argument("names", nargs="*", help=f"attacks, of {', '.join(ATTACKS)}; without one all of them")
    parser.add_argument("--seconds", type=float, default=8, help="time of each attack")
    given = parser.parse_args()
    names = given.names or list(ATTACKS)
    seen = asyncio.run(drill(paths.MODEL, names, given.seconds))
    conclude(f"under attack, {given.seconds:g} s each: alive, and a plain picture, within a second", verdict(seen))


async def drill(model: Path, names: Sequence[str], seconds: float) -> list[Seen]:
    """Attacks one service in every way of `names`."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "models"
        folder.mkdir()
        copy = Path(shutil.copy(model, folder))
        with service(copy, Path(scratch)) as server:
            for _ in range(WARM_UP):
                await answered(server.port, ONE_PNG.to_bytes([7]))
                await answered(server.port, PIXELS.to_bytes(range(64)))
            return [await one_attack(server, name, folder, seconds) for name in names]


async def one_attack(server: Server, name: str, folder: Path, seconds: float) -> Seen:
    """One attack, until the service's memory has come back or time is up."""
    memory = Watched(server.worker)
    live, picture = Probe(LIVE.to_bytes()), Probe(ONE_PNG.to_bytes([7]))
    beside = [asyncio.create_task(each) for each in (live.ask(server.port), picture.ask(server.port), memory.watch())]
    arguments = ["-m", "benchmarks.faults.attacks", name, str(server.port), str(folder), str(seconds)]
    attacker = await asyncio.create_subprocess_exec(sys.executable, *arguments)
    try:
        status = await attacker.wait()
    finally:
        with suppress(ProcessLookupError):
            attacker.kill()
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
    deadline = time.monotonic() + SETTLE_S
    while memory.process.memory > memory.start + MEMORY_BACK and time.monotonic() < deadline:
        await asyncio.sleep(EVERY_S)
    after = memory.process.memory
    return Seen(name, live, picture, (memory.start / 1e6, memory.most / 1e6, after / 1e6), status)


async def answered(port: int, request: bytes) -> bool:
    """Whether a request on a connection of its own is answered with 200."""
    connection = await Connection.open(port)
    try:
        return (await connection.ask(request)).status == 200
    finally:
        connection.close()


def verdict(attacks: Sequence[Seen]) -> list[Check]:
    """What was promised, beside what was seen."""
    promises = []
    for seen in attacks:
        slowest = [max(probe.times_ms, default=float("inf")) for probe in (seen.live, seen.picture)]
        failed = seen.live.failed + seen.picture.failed
        before, most, after = seen.memory
        asked = len(seen.live.times_ms) + len(seen.picture.times_ms)
        promises.append(
            Check(
                seen.name,
                f"/livez {slowest[0]:4.0f} ms, picture {slowest[1]:4.0f} ms, {failed} of {asked} failed, "
                f"memory {before:.0f}, at most {most:.0f}, then {after:.0f} MB",
                max(slowest) < LIMIT_MS and not failed and after <= before + MEMORY_BACK / 1e6 and not seen.attacker,
            )
        )
    return promises


if __name__ == "__main__":
    run_stage(main)
