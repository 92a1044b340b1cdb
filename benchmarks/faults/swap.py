"""A model file that is replaced under load: the next model takes over, and a damaged file changes nothing.

    python -m benchmarks.faults.swap [--rounds N]

Clients ask for the pixels of one seed again and again, while two models take turns in one path, each moved there by a
rename. Every picture is held against the model that its answer names.
"""

import argparse
import asyncio
import io
import json
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten

import numpy as np
from numpy.typing import NDArray

from benchmarks.faults.fault_test import Check, conclude, service
from benchmarks.load.connection import BROKEN, Connection
from benchmarks.load.messages import MODELS, PIXELS, Answer, ask
from benchmarks.load.models import write_altered
from serving.files import atomic_write
from serving.inference.generator import OnnxGenerator
from training import paths
from training.stage import run_stage

CLIENTS = 8
SEED = 7
WAIT_S = 30  # for a file to be taken up
LOOK_EVERY_S = 0.05
AFTER_DAMAGE_S = 2.0  # of load on the old model once the damaged file has been noticed
SENTENCE_START = 46  # characters of a long sentence that the table shows


@dataclass
class Seen:
    """What the clients saw."""

    pictures: dict[str, NDArray[np.uint8]]  # what each model draws, by its id
    answers: Counter[int] = field(default_factory=Counter)  # by status
    broken: int = 0
    wrong: int = 0  # pictures that are not those of the model that the answer names
    model: str = ""  # that the last answer named
    swaps: int = 0  # that took effect
    after_damage: str = ""  # what /models says of the damaged file
    recovered: bool = False

    def count(self, answer: Answer) -> None:
        """Counts an answer and looks at its picture."""
        self.answers[answer.status] += 1
        if answer.status != 200:
            return
        self.model = answer.headers["x-mint-model"]
        picture = np.load(io.BytesIO(answer.body))[0]
        expected = self.pictures.get(self.model)
        self.wrong += expected is None or np.abs(picture.astype(int) - expected).max() > 1

    async def turns_to(self, model: str) -> bool:
        """Waits until an answer names this model; False when none does in time."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            if self.model == model:
                return True
            await asyncio.sleep(LOOK_EVERY_S)
        return False


def main() -> None:
    """Swaps models again and again."""
    parser = argparse.ArgumentParser(description="a model file that is replaced under load")
    parser.add_argument("--rounds", type=int, default=20, help="how often the file is replaced")
    rounds = parser.parse_args().rounds
    promises = asyncio.run(drill(paths.MODEL, rounds))
    conclude(f"a model file replaced {rounds} times under load, then damaged, {CLIENTS} connections", promises)


async def drill(model: Path, rounds: int) -> list[Check]:
    """Replaces the served file so many times, then by a damaged one, then by a sound one."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        contents = [model.read_bytes(), write_altered(model, scratch / "altered").read_bytes()]
        generators = [OnnxGenerator.load(path, "cpu") for path in (model, scratch / "altered")]
        ids = [generator.model_id for generator in generators]
        served = scratch / "served" / "generator.onnx"
        place(contents[0], served)
        seen = Seen({generator.model_id: generator.draw([SEED])[0][0] for generator in generators})
        with service(served, scratch) as server:
            clients = [asyncio.create_task(client(server.port, seen)) for _ in range(CLIENTS)]
            for number in range(1, rounds + 1):
                place(contents[number % 2], served)
                if await seen.turns_to(ids[number % 2]):
                    seen.swaps += 1
            place(contents[rounds % 2][: len(contents[0]) // 2], served)
            await look_at_damage(server.port, seen)
            kept = seen.model == ids[rounds % 2]
            place(contents[(rounds + 1) % 2], served)
            seen.recovered = await seen.turns_to(ids[(rounds + 1) % 2])
            await stop(clients)
    return verdict(seen, rounds, kept)


def verdict(seen: Seen, rounds: int, kept: bool) -> list[Check]:
    """What was promised, beside what was seen."""
    told = ", ".join(f"{count} x {status}" for status, count in sorted(seen.answers.items()))
    return [
        Check(
            "every answer is 200", f"{told}; {seen.broken} broke off", set(seen.answers) == {200} and not seen.broken
        ),
        Check("every replaced file is taken up", f"{seen.swaps} of {rounds}", seen.swaps == rounds),
        Check("every picture is of the model that its answer names", f"{seen.wrong} are not", not seen.wrong),
        Check("a damaged file leaves the old model in place", "the old model answers" if kept else seen.model, kept),
        Check(
            "/models says what is wrong with it",
            shorten(seen.after_damage.rpartition("/")[2] or "nothing", SENTENCE_START, placeholder=" ..."),
            bool(seen.after_damage),
        ),
        Check("a sound file after it is taken up", "yes" if seen.recovered else "no", seen.recovered),
    ]


def place(content: bytes, path: Path) -> None:
    """Writes a file beside `path` and renames it into place."""
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(content)


async def client(port: int, seen: Seen) -> None:
    """Asks for the same pixels until it is cancelled."""
    request = PIXELS.to_bytes([SEED])
    connection = await Connection.open(port)
    while True:
        try:
            seen.count(await connection.ask(request))
        except BROKEN:
            seen.broken += 1
            connection = await Connection.open(port)


async def stop(clients: list["asyncio.Task[None]"]) -> None:
    """Cancels the clients; raises what has ended one of them before."""
    for each in clients:
        each.cancel()
    for result in await asyncio.gather(*clients, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


async def look_at_damage(port: int, seen: Seen) -> None:
    """Waits until /models names a problem, and goes on under load for a while."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and not seen.after_damage:
        answer = await asyncio.to_thread(ask, port, MODELS)
        seen.after_damage = json.loads(answer.body)["models"][0]["problem"] or ""
        await asyncio.sleep(LOOK_EVERY_S)
    await asyncio.sleep(AFTER_DAMAGE_S)


if __name__ == "__main__":
    run_stage(main)
