"""Four times what the service can take: it turns away what is too much, and does the rest as well as ever.

    python -m benchmarks.faults.overload [--seconds N]

Every request is for 64 images as npy, so that the network is the limit. What the service can take is measured first,
with connections that wait for their answers; then requests are sent at four times that rate, whatever comes back.
"""

import argparse
import asyncio
import itertools
import math
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.faults.fault_test import Check, conclude, service
from benchmarks.load.connection import BROKEN, Connection
from benchmarks.load.messages import PIXELS, Answer
from benchmarks.load.servers import Process
from training import paths
from training.stage import run_stage

IMAGES = 64  # in a request
TIMES = 4
BODIES = 512  # requests that are prepared, and used again and again
FEW = 8  # connections that measure what the service can take
MOST = 1024  # connections at a time
LAG_MS = 50  # a client that is later than this is itself the limit
AFTERWARDS = 20
MEMORY_SHARE = 0.1
LOOK_EVERY_S = 0.25


@dataclass
class Flood:
    """What came back while requests were sent at a fixed rate."""

    rate: float  # requests a second
    answers: Counter[int] = field(default_factory=Counter)  # by status
    broken: int = 0  # requests without a whole answer
    silent: int = 0  # 429 without a Retry-After
    accepted_ms: list[float] = field(default_factory=list)  # from when a request was due to the end of its 200
    lag_ms: list[float] = field(default_factory=list)  # from when a request was due to when it was sent

    def count(self, answer: Answer) -> None:
        """Counts an answer."""
        self.answers[answer.status] += 1
        self.silent += answer.status == 429 and "retry-after" not in answer.headers


def main() -> None:
    """Floods the service and says how it took it."""
    parser = argparse.ArgumentParser(description="the service at four times what it can take")
    parser.add_argument("--seconds", type=float, default=60, help="time of the flood")
    seconds = parser.parse_args().seconds
    promises = asyncio.run(drill(paths.MODEL, seconds))
    conclude(f"{TIMES} times what the service can take, for {seconds:g} s, {IMAGES} images a request", promises)


async def drill(model: Path, seconds: float) -> list[Check]:
    """Measures what the service can take, sends it four times as much, and asks it again."""
    requests = [PIXELS.to_bytes(range(start, start + IMAGES)) for start in range(0, BODIES * IMAGES, IMAGES)]
    with tempfile.TemporaryDirectory() as scratch, service(model, Path(scratch)) as server:
        warm_up = min(seconds, 5)
        await capacity(server.port, requests, warm_up)
        rate = TIMES * await capacity(server.port, requests, warm_up)
        await flood(server.port, requests, rate, warm_up)  # queue, connections and buffers have been full once
        before = await one_after_another(server.port, requests[:AFTERWARDS])
        memory = Watched(server.worker)
        watching = asyncio.create_task(memory.watch())
        seen = await flood(server.port, requests, rate, seconds)
        watching.cancel()
        after = await one_after_another(server.port, requests[:AFTERWARDS])
    return verdict(seen, memory, before, after)


def verdict(seen: Flood, memory: "Watched", before: Sequence[float], after: Sequence[float]) -> list[Check]:
    """What was promised, beside what was seen."""
    others = sum(count for status, count in seen.answers.items() if status not in (200, 429))
    p99 = percentile(seen.accepted_ms, 99)
    lag = percentile(seen.lag_ms, 99)
    growth = memory.most / memory.start - 1
    told = ", ".join(f"{count} x {status}" for status, count in sorted(seen.answers.items()))
    return [
        Check("every answer is 200 or 429", f"{told}; {seen.broken} broke off", not others and not seen.broken),
        Check("some are accepted, some are turned away", told, bool(seen.answers[200] and seen.answers[429])),
        Check("every 429 says when to come back", f"{seen.silent} did not", not seen.silent),
        Check(
            f"memory stays within {MEMORY_SHARE:.0%} of its start",
            f"{memory.start / 1e6:.0f} MB, at most {memory.most / 1e6:.0f} MB ({growth:+.1%})",
            growth <= MEMORY_SHARE,
        ),
        Check("p99 of what was accepted is under 1 s", f"{p99:.0f} ms", p99 < 1000),
        Check(
            "then it is as quick as before, at once",
            f"median {median(after):.0f} ms, before {median(before):.0f} ms; worst {max(after):.0f} ms of {len(after)}",
            median(after) <= 1.5 * median(before),
        ),
        Check(
            "(the client kept up, or none of this counts)",
            f"{seen.rate:.0f} requests/s, p99 {lag:.0f} ms late",
            lag <= LAG_MS,
        ),
    ]


async def capacity(port: int, requests: Sequence[bytes], seconds: float) -> float:
    """Requests a second that a few connections, each waiting for its answers, get done."""
    answers: Counter[int] = Counter()
    supply = itertools.cycle(requests)
    end = time.perf_counter() + seconds

    async def client() -> None:
        connection = await Connection.open(port)
        while time.perf_counter() < end:
            answer = await connection.ask(next(supply))
            answers[answer.status] += 1
        connection.close()

    await asyncio.gather(*(client() for _ in range(FEW)))
    return answers[200] / seconds


async def flood(port: int, requests: Sequence[bytes], rate: float, seconds: float) -> Flood:
    """Sends requests at a fixed rate, on connections that are free or new, and waits for the last answer."""
    seen = Flood(rate)
    free: list[Connection] = []
    supply = itertools.cycle(requests)
    places = asyncio.Semaphore(MOST)

    async def one(due: float) -> None:
        async with places:
            try:
                connection = free.pop() if free else await Connection.open(port)
                seen.lag_ms.append(1000 * (time.perf_counter() - due))
                answer = await connection.ask(next(supply))
            except BROKEN:
                seen.broken += 1
                return
            free.append(connection)
            seen.count(answer)
            if answer.status == 200:
                seen.accepted_ms.append(1000 * (time.perf_counter() - due))

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(math.ceil(rate * seconds)):
            due = began + number / rate
            await asyncio.sleep(due - time.perf_counter())
            group.create_task(one(due))
    for connection in free:
        connection.close()
    return seen


async def one_after_another(port: int, requests: Sequence[bytes]) -> list[float]:
    """Milliseconds that each request takes alone; infinite where the answer is not 200."""
    connection = await Connection.open(port)
    times = []
    for request in requests:
        began = time.perf_counter()
        answer = await connection.ask(request)
        times.append(1000 * (time.perf_counter() - began) if answer.status == 200 else math.inf)
    connection.close()
    return times


class Watched:
    """A process's resident memory: what it was at first, and the most that was seen."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.start = self.most = process.memory

    async def watch(self) -> None:
        """Looks until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.most = max(self.most, self.process.memory)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so many percent of the values do not exceed; infinite where there are none."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * share / 100) - 1, 0)] if ordered else math.inf


if __name__ == "__main__":
    run_stage(main)
