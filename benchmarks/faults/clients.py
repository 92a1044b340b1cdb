"""Fault test: slow and disconnecting clients, whose requests must be cancelled and whose resources must be released.

    python -m benchmarks.faults.clients [--clients N]

A quarter of the clients stall in the middle of the head, a quarter in the middle of the body; a quarter send a whole
request and disconnect at once, a quarter never read the response. In the end all of them disconnect.
"""

import argparse
import asyncio
import random
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.fault_test import Check, report_checks, service
from benchmarks.load.http_client import METRICS, NPY, ONE_PNG, Connection, metric_total, send
from benchmarks.load.servers import Server
from training import paths
from training.stage import run_stage

IMAGES = 64  # in a request
KINDS = ("half a head", "half a body", "disconnected", "never reads")
QUEUE = 65536  # images; room for every request, so that none is rejected with 429
WARM_UP_CLIENTS = 32
WARM_UP_REQUESTS = 4  # of each client, of both kinds
MAX_WASTED_SHARE = 0.1
SETTLE_S = 60
POLL_EVERY_S = 0.05


@dataclass(frozen=True)
class ServiceState:
    """Resources that the service holds, and the number of images it has generated."""

    images: float
    queue: float
    files: int
    threads: int

    @classmethod
    def of(cls, server: Server) -> "ServiceState":
        """Read /metrics and /proc."""
        metrics = send(server.port, METRICS).body
        images, queue = metric_total(metrics, "mint_images_total"), metric_total(metrics, "mint_queue_images")
        return cls(images, queue, server.stats.files, server.stats.threads)


@dataclass(frozen=True)
class Observations:
    """State before, after the images of connected clients were generated, and after all clients had disconnected."""

    before: ServiceState
    busy: ServiceState
    after: ServiceState
    status_meanwhile: int  # of a normal request among the others
    status_afterwards: int


def main() -> None:
    """Run the test and print its checks."""
    parser = argparse.ArgumentParser(description="slow and disconnecting clients")
    parser.add_argument("--clients", type=int, default=1000, help="how many, a quarter of each kind")
    clients = parser.parse_args().clients
    checks = asyncio.run(run_test(paths.MODEL, clients))
    report_checks(f"{clients} clients, a quarter each: {', '.join(KINDS)}; {IMAGES} images a request", checks)


async def run_test(model: Path, clients: int) -> list[Check]:
    """Connect the clients, let the queue drain, disconnect them, and wait until their resources are released."""
    with tempfile.TemporaryDirectory() as scratch, service(model, Path(scratch), max_queue=QUEUE) as server:
        allow_many_files()
        await warm_up(server.port)
        before = await settled(server, lambda state: not state.queue)
        kinds = list(KINDS) * (clients // len(KINDS))
        random.Random(0).shuffle(kinds)
        connections = [await connect(server.port, kind) for kind in kinds]
        meanwhile = (await asyncio.to_thread(send, server.port, ONE_PNG, [0])).status
        busy = await settled(server, lambda state: not state.queue)
        for connection in connections:
            connection.close()
        after = await settled(server, lambda state: state.files <= before.files and state.threads <= before.threads)
        afterwards = (await asyncio.to_thread(send, server.port, ONE_PNG, [0])).status
    return evaluate(Observations(before, busy, after, meanwhile, afterwards), clients // len(KINDS))


def evaluate(seen: Observations, clients_per_kind: int) -> list[Check]:
    """Compare the observations with the requirements."""
    requested = clients_per_kind * IMAGES  # by disconnected clients, and as many by those that never read
    generated = seen.busy.images - seen.before.images
    wasted = seen.after.images - seen.before.images - requested - 1
    return [
        Check("a normal request among them succeeds", f"{seen.status_meanwhile}", seen.status_meanwhile == 200),
        Check("images for connected clients are generated", f"{generated:.0f} images", generated >= requested + 1),
        Check(
            f"at most {MAX_WASTED_SHARE:.0%} of the images for disconnected clients are generated",
            f"{wasted:.0f} of {requested} images",
            wasted <= MAX_WASTED_SHARE * requested,
        ),
        Check("the queue is empty afterwards", f"{seen.after.queue:.0f} images", not seen.after.queue),
        Check(
            "open files are back to the start",
            f"{seen.before.files} before, {seen.busy.files} meanwhile, {seen.after.files} after",
            seen.after.files <= seen.before.files,
        ),
        Check(
            "threads are back to the start",
            f"{seen.before.threads} before, {seen.after.threads} after",
            seen.after.threads <= seen.before.threads,
        ),
        Check("a normal request afterwards succeeds", f"{seen.status_afterwards}", seen.status_afterwards == 200),
    ]


async def connect(port: int, kind: str) -> Connection:
    """Connect a client of a kind and send its request, or part of it."""
    whole = NPY.to_bytes(range(IMAGES))
    head = whole.index(b"\r\n\r\n") + 4
    connection = await Connection.open(port)
    sent = {"half a head": whole[: head // 2], "half a body": whole[: (head + len(whole)) // 2]}.get(kind, whole)
    connection.writer.transport.pause_reading()  # type: ignore[attr-defined]  # every TCP transport has it
    connection.writer.write(sent)
    await connection.writer.drain()
    if kind == "disconnected":
        connection.close()
    return connection


async def warm_up(port: int) -> None:
    """Send concurrent requests until the service has started every thread that it will ever have."""

    async def client() -> None:
        connection = await Connection.open(port)
        for _ in range(WARM_UP_REQUESTS):
            await connection.send(NPY.to_bytes(range(IMAGES)))
            await connection.send(ONE_PNG.to_bytes([0]))
        connection.close()

    await asyncio.gather(*(client() for _ in range(WARM_UP_CLIENTS)))


async def settled(server: Server, condition: Callable[[ServiceState], bool]) -> ServiceState:
    """Poll until a state meets the condition; after SETTLE_S the last one is returned as it is."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        state = await asyncio.to_thread(ServiceState.of, server)
        if condition(state) or time.monotonic() > deadline:
            return state
        await asyncio.sleep(POLL_EVERY_S)


def allow_many_files() -> None:
    """Raise the limit of open files of this process; the service keeps its own."""
    _, maximum = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, maximum))


if __name__ == "__main__":
    run_stage(main)
