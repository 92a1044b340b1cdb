"""Fault test: at four times its capacity the service must reject the excess and serve the rest as fast as ever.

    python -m benchmarks.faults.overload [--seconds N]

Every request is for 64 images as npy, so that the network is the bottleneck. Capacity is measured first, in a closed
loop of a few connections; then requests are sent at four times that rate in an open loop, whatever the responses.
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

from benchmarks.faults.fault_test import Check, report_checks, service, status_counts
from benchmarks.load.http_client import CONNECTION_ERRORS, NPY, Connection, Response
from benchmarks.load.servers import ProcessStats
from training import paths
from training.stage import run_stage

IMAGES = 64  # in a request
OVERLOAD_FACTOR = 4
DISTINCT_REQUESTS = 512  # prepared ahead, then sent in a cycle
CAPACITY_CONNECTIONS = 8
MAX_CONNECTIONS = 1024
MAX_LAG_MS = 50  # a load generator that sends later than this is itself the bottleneck
SEQUENTIAL_REQUESTS = 20
MAX_MEMORY_GROWTH = 0.1
POLL_EVERY_S = 0.25


@dataclass
class FloodResult:
    """Responses to requests sent at a fixed rate."""

    rate: float  # requests a second
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0  # requests without a complete response
    without_retry_after: int = 0  # of those with status 429
    accepted_ms: list[float] = field(default_factory=list)  # from when a request was due to the end of its 200
    lag_ms: list[float] = field(default_factory=list)  # from when a request was due to when it was sent

    def count(self, response: Response) -> None:
        """Count a response by its status."""
        self.statuses[response.status] += 1
        self.without_retry_after += response.status == 429 and "retry-after" not in response.headers


def main() -> None:
    """Run the test and print its checks."""
    parser = argparse.ArgumentParser(description="the service at four times its capacity")
    parser.add_argument("--seconds", type=float, default=60, help="duration of the overload")
    seconds = parser.parse_args().seconds
    checks = asyncio.run(run_test(paths.MODEL, seconds))
    report_checks(
        f"{OVERLOAD_FACTOR} times the service's capacity, for {seconds:g} s, {IMAGES} images a request", checks
    )


async def run_test(model: Path, seconds: float) -> list[Check]:
    """Measure the capacity, send four times as much, and compare the latency before and after."""
    requests = [NPY.to_bytes(range(start, start + IMAGES)) for start in range(0, DISTINCT_REQUESTS * IMAGES, IMAGES)]
    with tempfile.TemporaryDirectory() as scratch, service(model, Path(scratch)) as server:
        warm_up = min(seconds, 5)
        await capacity(server.port, requests, warm_up)
        rate = OVERLOAD_FACTOR * await capacity(server.port, requests, warm_up)
        await flood(server.port, requests, rate, warm_up)  # fills queue and buffers once before memory is measured
        before = await sequential_latencies(server.port, requests[:SEQUENTIAL_REQUESTS])
        memory = MemoryMonitor(server.stats)
        monitoring = asyncio.create_task(memory.run())
        result = await flood(server.port, requests, rate, seconds)
        monitoring.cancel()
        after = await sequential_latencies(server.port, requests[:SEQUENTIAL_REQUESTS])
    return evaluate(result, memory, before, after)


def evaluate(
    result: FloodResult, memory: "MemoryMonitor", before: Sequence[float], after: Sequence[float]
) -> list[Check]:
    """Compare the responses, memory, and latencies in ms before and after with the requirements."""
    others = sum(count for status, count in result.statuses.items() if status not in (200, 429))
    p99 = percentile(result.accepted_ms, 99)
    lag = percentile(result.lag_ms, 99)
    growth = memory.peak / memory.start - 1
    statuses = status_counts(result.statuses)
    return [
        Check("every status is 200 or 429", f"{statuses}; {result.broken} broke off", not others and not result.broken),
        Check("some are accepted, some rejected", statuses, bool(result.statuses[200] and result.statuses[429])),
        Check("every 429 has a Retry-After", f"{result.without_retry_after} without", not result.without_retry_after),
        Check(
            f"memory stays within {MAX_MEMORY_GROWTH:.0%} of its start",
            f"{memory.start / 1e6:.0f} MB, peak {memory.peak / 1e6:.0f} MB ({growth:+.1%})",
            growth <= MAX_MEMORY_GROWTH,
        ),
        Check("p99 of accepted requests is under 1 s", f"{p99:.0f} ms", p99 < 1000),
        Check(
            "latency is back at once",
            f"median {median(after):.0f} ms, before {median(before):.0f} ms; worst {max(after):.0f} ms of {len(after)}",
            median(after) <= 1.5 * median(before),
        ),
        Check(
            "(the load generator kept up, or none of this counts)",
            f"{result.rate:.0f} requests/s, p99 {lag:.0f} ms late",
            lag <= MAX_LAG_MS,
        ),
    ]


async def capacity(port: int, requests: Sequence[bytes], seconds: float) -> float:
    """Successful requests a second of a closed loop with a few connections."""
    statuses: Counter[int] = Counter()
    supply = itertools.cycle(requests)
    end = time.perf_counter() + seconds

    async def client() -> None:
        connection = await Connection.open(port)
        while time.perf_counter() < end:
            response = await connection.send(next(supply))
            statuses[response.status] += 1
        connection.close()

    await asyncio.gather(*(client() for _ in range(CAPACITY_CONNECTIONS)))
    return statuses[200] / seconds


async def flood(port: int, requests: Sequence[bytes], rate: float, seconds: float) -> FloodResult:
    """Send requests at a fixed rate, on idle or new connections, and wait for the last response."""
    result = FloodResult(rate)
    idle: list[Connection] = []
    supply = itertools.cycle(requests)
    slots = asyncio.Semaphore(MAX_CONNECTIONS)

    async def one(due: float) -> None:
        async with slots:
            try:
                connection = idle.pop() if idle else await Connection.open(port)
                result.lag_ms.append(1000 * (time.perf_counter() - due))
                response = await connection.send(next(supply))
            except CONNECTION_ERRORS:
                result.broken += 1
                return
            idle.append(connection)
            result.count(response)
            if response.status == 200:
                result.accepted_ms.append(1000 * (time.perf_counter() - due))

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(math.ceil(rate * seconds)):
            due = began + number / rate
            await asyncio.sleep(due - time.perf_counter())
            group.create_task(one(due))
    for connection in idle:
        connection.close()
    return result


async def sequential_latencies(port: int, requests: Sequence[bytes]) -> list[float]:
    """Milliseconds of each request, sent one at a time; infinite for a status other than 200."""
    connection = await Connection.open(port)
    times = []
    for request in requests:
        began = time.perf_counter()
        response = await connection.send(request)
        times.append(1000 * (time.perf_counter() - began) if response.status == 200 else math.inf)
    connection.close()
    return times


class MemoryMonitor:
    """Resident memory of a process: at the start, and the peak since."""

    def __init__(self, process: ProcessStats) -> None:
        self.process = process
        self.start = self.peak = process.memory

    async def run(self) -> None:
        """Sample the memory until cancelled."""
        while True:
            await asyncio.sleep(POLL_EVERY_S)
            self.peak = max(self.peak, self.process.memory)


def percentile(values: Sequence[float], percent: float) -> float:
    """Percentile by nearest rank; infinite without values."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)] if ordered else math.inf


if __name__ == "__main__":
    run_stage(main)
