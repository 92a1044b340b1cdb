"""Fault test: models promoted and rolled back under load must be served, and a damaged file must not displace one.

    python -m benchmarks.faults.swap [--rounds N]

Clients request the pixels of one seed again and again, while two models alternate under one path, as `make promote` and
`make rollback` put them there. Every image is compared with that of the model named in its response.
"""

import argparse
import asyncio
import io
import json
import tempfile
import time
from collections import Counter
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten

import numpy as np
from numpy.typing import NDArray

from benchmarks.faults.fault_test import Check, report_checks, service, status_counts
from benchmarks.load.http_client import CONNECTION_ERRORS, MODELS, NPY, Connection, Response, send
from benchmarks.load.models import write_altered
from serving.files import atomic_write
from serving.inference.generator import OnnxGenerator
from training import paths, promote
from training.stage import run_stage

CLIENTS = 8
SEED = 7
RELOAD_TIMEOUT_S = 30
POLL_EVERY_S = 0.05
AFTER_DAMAGE_S = 2.0  # of load on the old model after the damaged file is reported
PROBLEM_WIDTH = 46  # characters of a long sentence in the table


@dataclass
class SwapResult:
    """Observations of the clients."""

    images: dict[str, NDArray[np.uint8]]  # expected image by model id
    statuses: Counter[int] = field(default_factory=Counter)  # of responses
    broken: int = 0  # requests without a complete response
    wrong: int = 0  # images that differ from those of the model that the response names
    model: str = ""  # id in the last response
    swaps: int = 0  # that took effect
    problem: str = ""  # of the damaged file, as /models reports it
    kept_old_model: bool = False  # after the damaged file
    recovered: bool = False

    def count(self, response: Response) -> None:
        """Count a response and compare its image with the expected one."""
        self.statuses[response.status] += 1
        if response.status != 200:
            return
        self.model = response.headers["x-mint-model"]
        image = np.load(io.BytesIO(response.body))[0]
        expected = self.images.get(self.model)
        self.wrong += expected is None or np.abs(image.astype(int) - expected).max() > 1

    async def reloads(self, model: str) -> bool:
        """Wait until a response names this model; False after a timeout."""
        deadline = time.monotonic() + RELOAD_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.model == model:
                return True
            await asyncio.sleep(POLL_EVERY_S)
        return False


def main() -> None:
    """Run the test and print its checks."""
    parser = argparse.ArgumentParser(description="models promoted and rolled back under load")
    parser.add_argument("--rounds", type=int, default=20, help="how often the model is replaced")
    rounds = parser.parse_args().rounds
    checks = asyncio.run(run_test(paths.MODEL, rounds))
    title = f"a model promoted or rolled back {rounds} times under load, then damaged, {CLIENTS} connections"
    report_checks(title, checks)


async def run_test(model: Path, rounds: int) -> list[Check]:
    """Replace the served model so many times, then its file with a damaged one, then with a valid one."""
    model = model.absolute()
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        scratch = Path(folder)
        altered = write_altered(model, scratch / "altered.onnx")
        contents = [path.read_bytes() for path in (model, altered)]
        generators = [OnnxGenerator.load(path, "cpu") for path in (model, altered)]
        ids = [generator.model_id for generator in generators]
        promote.promote_by_hand(str(model))
        served = paths.MODEL
        result = SwapResult({generator.model_id: generator.generate([SEED])[0][0] for generator in generators})
        with service(served, scratch) as server:
            clients = [asyncio.create_task(client(server.port, result)) for _ in range(CLIENTS)]
            for number in range(1, rounds + 1):
                if number % 2:
                    await asyncio.to_thread(promote.promote_by_hand, str(altered))
                else:
                    await asyncio.to_thread(promote.rollback)
                if await result.reloads(ids[number % 2]):
                    result.swaps += 1
            replace(contents[rounds % 2][: len(contents[0]) // 2], served)
            await wait_for_problem(server.port, result)
            result.kept_old_model = result.model == ids[rounds % 2]
            replace(contents[(rounds + 1) % 2], served)
            result.recovered = await result.reloads(ids[(rounds + 1) % 2])
            await stop(clients)
    return evaluate(result, rounds)


def evaluate(result: SwapResult, rounds: int) -> list[Check]:
    """Compare the observations with the requirements."""
    statuses = f"{status_counts(result.statuses)}; {result.broken} broke off"
    kept = result.kept_old_model
    return [
        Check("every status is 200", statuses, set(result.statuses) == {200} and not result.broken),
        Check(
            "every model promoted or rolled back to is loaded", f"{result.swaps} of {rounds}", result.swaps == rounds
        ),
        Check("every image is of the model that its response names", f"{result.wrong} are not", not result.wrong),
        Check("a damaged file leaves the old model in service", "the old model serves" if kept else result.model, kept),
        Check(
            "/models reports the problem",
            shorten(result.problem.rpartition("/")[2] or "nothing", PROBLEM_WIDTH, placeholder=" ..."),
            bool(result.problem),
        ),
        Check("a valid file after it is loaded", "yes" if result.recovered else "no", result.recovered),
    ]


def replace(content: bytes, path: Path) -> None:
    """Replace a file atomically."""
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(content)


async def client(port: int, result: SwapResult) -> None:
    """Request the same pixels until cancelled."""
    request = NPY.to_bytes([SEED])
    connection = await Connection.open(port)
    while True:
        try:
            result.count(await connection.send(request))
        except CONNECTION_ERRORS:
            result.broken += 1
            connection = await Connection.open(port)


async def stop(clients: list["asyncio.Task[None]"]) -> None:
    """Cancel the clients; re-raises the exception of one that has failed before."""
    for each in clients:
        each.cancel()
    for result in await asyncio.gather(*clients, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


async def wait_for_problem(port: int, result: SwapResult) -> None:
    """Wait until /models reports a problem, and stay under load for a while after it."""
    deadline = time.monotonic() + RELOAD_TIMEOUT_S
    while time.monotonic() < deadline and not result.problem:
        response = await asyncio.to_thread(send, port, MODELS)
        result.problem = json.loads(response.body)["models"][0]["problem"] or ""
        await asyncio.sleep(POLL_EVERY_S)
    await asyncio.sleep(AFTER_DAMAGE_S)


if __name__ == "__main__":
    run_stage(main)
