"""Fault test: SIGTERM under load, after which the service must drain without losing an accepted request, and exit.

    python -m benchmarks.faults.drain [--rounds N]

Clients send one request after another, half of them on keep-alive connections, half on a new one every few requests. A
client that receives `Connection: close`, or is refused a connection, stops. A request without a complete response is
lost; there must be none.
"""

import argparse
import asyncio
import itertools
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults.fault_test import Check, report_checks, service, status_counts
from benchmarks.load.http_client import CONNECTION_ERRORS, NPY, ONE_PNG, READY, Connection
from benchmarks.load.servers import Server
from training import paths
from training.stage import run_stage

CLIENTS = 16
REQUESTS_PER_CONNECTION = 5  # of the clients without keep-alive connections
LOAD_S = 1.0  # of load before SIGTERM
DRAIN_S = 1
EXIT_S = 30
QUEUE = 2048  # images: room for all concurrent requests; large ones may take three quarters of it
PROBE_EVERY_S = 0.02
REQUESTS = [
    *(ONE_PNG.to_bytes([seed]) for seed in range(3)),
    NPY.to_bytes(range(64)),  # slow enough to be in progress at SIGTERM
]


@dataclass
class DrainResult:
    """Observations of the clients in one round."""

    statuses: Counter[int] = field(default_factory=Counter)  # of responses
    lost: int = 0
    closed: int = 0  # clients that received `Connection: close`
    unready: bool = False  # /readyz turned 503 before connections were refused
    exit_code: int | None = None  # None: still running after EXIT_S


def main() -> None:
    """Run the test and print its checks."""
    parser = argparse.ArgumentParser(description="SIGTERM under load")
    parser.add_argument(
        "--rounds", type=int, default=20, help="number of times that the service is started and stopped"
    )
    rounds = parser.parse_args().rounds
    report_checks(f"SIGTERM under load, {rounds} times, {CLIENTS} connections", run_test(paths.MODEL, rounds))


def run_test(model: Path, rounds: int) -> list[Check]:
    """Start, load and stop the service so many times."""
    results = []
    for _ in range(rounds):
        with (
            tempfile.TemporaryDirectory() as scratch,
            service(model, Path(scratch), drain=DRAIN_S, max_queue=QUEUE) as server,
        ):
            results.append(asyncio.run(one_round(server)))
    return evaluate(results)


def evaluate(rounds: list[DrainResult]) -> list[Check]:
    """Compare the results of all rounds with the requirements."""
    statuses = sum((each.statuses for each in rounds), Counter[int]())
    lost = sum(each.lost for each in rounds)
    codes = Counter(str(each.exit_code) for each in rounds)
    return [
        Check("no accepted request is lost", f"{lost} of {statuses.total() + lost}", not lost),
        Check("every status is 200", status_counts(statuses), set(statuses) == {200}),
        Check(
            "clients receive Connection: close",
            f"{sum(each.closed for each in rounds)}",
            all(each.closed for each in rounds),
        ),
        Check(
            "/readyz turns 503 before connections are refused",
            f"in {sum(each.unready for each in rounds)} of {len(rounds)} rounds",
            all(each.unready for each in rounds),
        ),
        Check(
            "the service exits with 0",
            ", ".join(f"{count} x {code}" for code, count in codes.items()),
            set(codes) == {"0"},
        ),
    ]


async def one_round(server: Server) -> DrainResult:
    """Load the service, send SIGTERM, and wait until its process has ended."""
    result = DrainResult()
    limits = [REQUESTS_PER_CONNECTION if number % 2 else sys.maxsize for number in range(CLIENTS)]
    clients = [asyncio.create_task(client(server.port, result, limit)) for limit in limits]
    await asyncio.sleep(LOAD_S)
    os.kill(server.process.pid, signal.SIGTERM)
    await asyncio.gather(probe(server.port, result), *clients)
    try:
        result.exit_code = await asyncio.to_thread(server.process.wait, EXIT_S)
    except subprocess.TimeoutExpired:
        result.exit_code = None
    return result


async def client(port: int, result: DrainResult, limit: int) -> None:
    """Send requests until the service closes the connection for good; limit: requests on one connection."""
    supply = itertools.cycle(REQUESTS)
    while True:
        try:
            connection = await Connection.open(port)
        except ConnectionRefusedError:
            return
        for _ in range(limit):
            if connection.closed_by_peer:
                break
            try:
                response = await connection.send(next(supply))
            except CONNECTION_ERRORS:
                result.lost += 1
                break
            result.statuses[response.status] += 1
            if response.closes_connection:
                result.closed += 1
                connection.close()
                return
        connection.close()


async def probe(port: int, result: DrainResult) -> None:
    """Poll /readyz on new connections, as an orchestrator does, until they are refused."""
    ready = READY.to_bytes()
    try:
        async with asyncio.timeout(EXIT_S):
            while True:
                connection = await Connection.open(port)
                response = await connection.send(ready)
                result.unready |= response.status == 503
                connection.close()
                await asyncio.sleep(PROBE_EVERY_S)
    except (*CONNECTION_ERRORS, TimeoutError):
        return


if __name__ == "__main__":
    run_stage(main)
