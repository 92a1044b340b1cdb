"""Slow and vanished clients: what nobody waits for is not done, and nothing of them stays.

    python -m benchmarks.load.client_address [--clients N]

A quarter of the clients stop in the middle of the head, a quarter in the middle of the body; a quarter ask for images
and vanish at once, a quarter ask and never read. Then all of them hang up.
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

from benchmarks.faults.fault_test import Check, conclude, service
from benchmarks.load.connection import Connection
from benchmarks.load.messages import METRICS, ONE_PNG, PIXELS, ask, metric
from benchmarks.load.servers import Server
from training import paths
from training.stage import run_stage

IMAGES = 64  # in a request
KINDS = ("half a head", "half a body", "vanished", "never reads")
QUEUE = 65536  # images; room for all who ask, so that nobody is simply turned away
WARM_UP_CLIENTS = 32
WARM_UP_REQUESTS = 4  # of each client, of both kinds
MADE_SHARE = 0.1
SETTLE_S = 60
LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class State:
    """What the service holds, and what it has made."""

    images: float
    queue: float
    files: int
    threads: int

    @classmethod
    def of(cls, server: Server) -> "State":
        """Asks /metrics and Linux."""
        page = ask(server.port, METRICS).body
        worker = server.worker
        return cls(metric(page, "mint_images_total"), metric(page, "mint_queue_images"), worker.files, worker.threads)


@dataclass(frozen=True)
class Seen:
    """The service before, when the work of those who stayed was done, and after all had hung up."""

    before: State
    busy: State
    after: State
    status_meanwhile: int  # of a normal request among the others
    status_afterwards: int


def main() -> None:
    """Sends bad clients and says what became of their requests."""
    parser = argparse.ArgumentParser(description="slow and vanished clients")
    parser.add_argument("--clients", type=int, default=1000, help="how many, a quarter of each kind")
    clients = parser.parse_args().clients
    promises = asyncio.run(drill(paths.MODEL, clients))
    conclude(f"{clients} clients, a quarter each: {', '.join(KINDS)}; {IMAGES} images a request", promises)


async def drill(model: Path, clients: int) -> list[Check]:
    """Sends the clients, waits for the work of those who stay, hangs up, and looks at what is left."""
    with tempfile.TemporaryDirectory() as scratch, service(model, Path(scratch), max_queue=QUEUE) as server:
        allow_many_files()
        await warm_up(server.port)
        before = await settled(server, lambda state: not state.queue)
        kinds = list(KINDS) * (clients // len(KINDS))
        random.Random(0).shuffle(kinds)
        connections = [await send(server.port, kind) for kind in kinds]
        meanwhile = (await asyncio.to_thread(ask, server.port, ONE_PNG, [0])).status
        busy = await settled(server, lambda state: not state.queue)
        for connection in connections:
            connection.close()
        after = await settled(server, lambda state: state.files <= before.files and state.threads <= before.threads)
        afterwards = (await asyncio.to_thread(ask, server.port, ONE_PNG, [0])).status
    return verdict(Seen(before, busy, after, meanwhile, afterwards), clients // len(KINDS))


def verdict(seen: Seen, each_kind: int) -> list[Check]:
    """What was promised, beside what was seen."""
    asked = each_kind * IMAGES  # by those who vanished, and as much by those who stay
    served = seen.busy.images - seen.before.images
    for_nobody = seen.after.images - seen.before.images - asked - 1
    return [
        Check("a normal request among them is answered", f"{seen.status_meanwhile}", seen.status_meanwhile == 200),
        Check("those who stay get what they asked for", f"{served:.0f} images", served >= asked + 1),
        Check(
            f"at most {MADE_SHARE:.0%} of what the vanished asked for is made",
            f"{for_nobody:.0f} of {asked} images",
            for_nobody <= MADE_SHARE * asked,
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
        Check("a normal request afterwards is answered", f"{seen.status_afterwards}", seen.status_afterwards == 200),
    ]


async def send(port: int, kind: str) -> Connection:
    """One bad client, up to where it stops."""
    whole = PIXELS.to_bytes(range(IMAGES))
    head = whole.index(b"\r\n\r\n") + 4
    connection = await Connection.open(port)
    sent = {"half a head": whole[: head // 2], "half a body": whole[: (head + len(whole)) // 2]}.get(kind, whole)
    connection.writer.transport.pause_reading()  # type: ignore[attr-defined]  # every TCP transport has it
    connection.writer.write(sent)
    await connection.writer.drain()
    if kind == "vanished":
        connection.close()
    return connection


async def warm_up(port: int) -> None:
    """Many at a time and for a while, so that every thread that the service will ever have is there."""

    async def client() -> None:
        connection = await Connection.open(port)
        for _ in range(WARM_UP_REQUESTS):
            await connection.ask(PIXELS.to_bytes(range(IMAGES)))
            await connection.ask(ONE_PNG.to_bytes([0]))
        connection.close()

    await asyncio.gather(*(client() for _ in range(WARM_UP_CLIENTS)))


async def settled(server: Server, condition: Callable[[State], bool]) -> State:
    """The first state that meets the condition, or the last one before time is up."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        state = await asyncio.to_thread(State.of, server)
        if condition(state) or time.monotonic() > deadline:
            return state
        await asyncio.sleep(LOOK_EVERY_S)


def allow_many_files() -> None:
    """Lets this process have as many connections as the system allows; the service keeps the limit it was given."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    run_stage(main)
