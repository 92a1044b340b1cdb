"""SIGTERM under load: the service says that it is leaving, answers what it has accepted, and exits.

    python -m benchmarks.faults.drain [--rounds N]

Clients send one request after another, half of them on connections that they keep, half on a new one every few
requests. One that is told `Connection: close`, or refused a connection, opens no other. A request that was sent and got
no whole answer is lost; there must be none.
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

from benchmarks.faults.fault_test import Check, conclude, service
from benchmarks.load.connection import BROKEN, Connection, closes
from benchmarks.load.messages import ONE_PNG, PIXELS, READY
from benchmarks.load.servers import Server
from training import paths
from training.stage import run_stage

CLIENTS = 16
FEW = 5  # requests on a connection that is not kept
LOAD_S = 1.0  # of load before SIGTERM
DRAIN_S = 1
EXIT_S = 30
QUEUE = 2048  # images: room for all that the clients ask for at a time, of which large requests get three quarters
PROBE_EVERY_S = 0.02
REQUESTS = [
    *(ONE_PNG.to_bytes([seed]) for seed in range(3)),
    PIXELS.to_bytes(range(64)),  # long enough to be on its way when the signal comes
]


@dataclass
class Round:
    """What the clients of one round saw."""

    answers: Counter[int] = field(default_factory=Counter)  # by status
    lost: int = 0
    told: int = 0  # clients that were told `Connection: close`
    unready: bool = False  # /readyz turned 503 before connections were refused
    exit_code: int | None = None  # None: still running after EXIT_S


def main() -> None:
    """Ends the service under load again and again."""
    parser = argparse.ArgumentParser(description="SIGTERM under load")
    parser.add_argument("--rounds", type=int, default=20, help="how often the service is started and ended")
    rounds = parser.parse_args().rounds
    conclude(f"SIGTERM under load, {rounds} times, {CLIENTS} connections", drill(paths.MODEL, rounds))


def drill(model: Path, rounds: int) -> list[Check]:
    """Starts, loads and ends the service so many times."""
    seen = []
    for _ in range(rounds):
        with (
            tempfile.TemporaryDirectory() as scratch,
            service(model, Path(scratch), drain=DRAIN_S, max_queue=QUEUE) as server,
        ):
            seen.append(asyncio.run(one_round(server)))
    return verdict(seen)


def verdict(rounds: list[Round]) -> list[Check]:
    """What was promised, beside what was seen."""
    answers = sum((each.answers for each in rounds), Counter[int]())
    told = ", ".join(f"{count} x {status}" for status, count in sorted(answers.items()))
    lost = sum(each.lost for each in rounds)
    codes = Counter(str(each.exit_code) for each in rounds)
    return [
        Check("no accepted request is lost", f"{lost} of {answers.total() + lost}", not lost),
        Check("every answer is 200", told, set(answers) == {200}),
        Check("clients are told to hang up", f"{sum(each.told for each in rounds)}", all(each.told for each in rounds)),
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


async def one_round(server: Server) -> Round:
    """Load, SIGTERM, and everything until the process has ended."""
    seen = Round()
    limits = [FEW if number % 2 else sys.maxsize for number in range(CLIENTS)]
    clients = [asyncio.create_task(client(server.port, seen, limit)) for limit in limits]
    await asyncio.sleep(LOAD_S)
    os.kill(server.process.pid, signal.SIGTERM)
    await asyncio.gather(probe(server.port, seen), *clients)
    try:
        seen.exit_code = await asyncio.to_thread(server.process.wait, EXIT_S)
    except subprocess.TimeoutExpired:
        seen.exit_code = None
    return seen


async def client(port: int, seen: Round, limit: int) -> None:
    """Asks until it is told to hang up, or cannot connect any more; limit: requests on one connection."""
    supply = itertools.cycle(REQUESTS)
    while True:
        try:
            connection = await Connection.open(port)
        except ConnectionRefusedError:
            return
        for _ in range(limit):
            if connection.gone:
                break
            try:
                answer = await connection.ask(next(supply))
            except BROKEN:
                seen.lost += 1
                break
            seen.answers[answer.status] += 1
            if closes(answer):
                seen.told += 1
                connection.close()
                return
        connection.close()


async def probe(port: int, seen: Round) -> None:
    """Asks /readyz on new connections, as an orchestrator does, until they are refused."""
    ready = READY.to_bytes()
    try:
        async with asyncio.timeout(EXIT_S):
            while True:
                connection = await Connection.open(port)
                answer = await connection.ask(ready)
                seen.unready |= answer.status == 503
                connection.close()
                await asyncio.sleep(PROBE_EVERY_S)
    except (*BROKEN, TimeoutError):
        return


if __name__ == "__main__":
    run_stage(main)
