"""Fault test: training that is killed again and again must end with the file of the run that was never killed.

    python -m benchmarks.faults.kill_training [--kills N] [--seed N] [--only PRESET ...]

A short run of each preset is ended by SIGKILL at random moments, one after the other in the same run, and started again
each time. Every fourth kill waits until a checkpoint is being written, which the temporary file left behind proves. The
exported ONNX file, the curves, probes, events and sample grids, and the state of the last checkpoint are compared with
those of an undisturbed run by SHA-256.
"""

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from benchmarks.configs import config
from benchmarks.faults.fault_test import Check, report_checks
from serving.errors import MintError
from training import paths, preprocess
from training.params import Params
from training.stage import run_stage
from training.stage_code import ROOT
from training.torch_files import load_with_checksum

BATCH = 16
STEPS = 208
CHECKPOINT_STEPS = 4
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "anime-wgan-gp": {"train": {"discriminator_steps": 2}},
    "few-shot": {"network": {"generator_width": 4, "discriminator_width": 8}},
    "r3gan": {"network": {"generator_width": 8, "discriminator_width": 8}},
}
SMALL: dict[str, Any] = {
    "data": {"source": str(ROOT / "data/fashion-mnist-10k"), "resolution": 32, "channels": 1, "limit": 256},
    "network": {"generator_width": 8, "discriminator_width": 8},
    "train": {"batch": BATCH, "probe_kimg": 1.0},
}
WHILE_WRITING = 4  # every how many kills wait for a checkpoint to be written
SPARE = 8  # as many steps as between two kills, so often, are left to the last one: it may have to wait for a write
POLL_S = 0.0005
TIMEOUT_S = 300


@dataclass
class KillCount:
    """What the kills of one preset met."""

    kills: int = 0
    while_writing: int = 0  # with a half-written checkpoint left behind


def main() -> None:
    """Run the test and print its checks."""
    parser = argparse.ArgumentParser(description="training killed at random moments")
    parser.add_argument("--kills", type=int, default=25, help="of each preset")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--only", nargs="+", choices=PRESETS, metavar="PRESET", default=list(PRESETS))
    options = parser.parse_args()
    rng = random.Random(options.seed)
    checks, total = [], KillCount()
    for preset in options.only:
        with project(preset):
            expected = train_and_export()
            steps_ahead = STEPS // (options.kills + SPARE)
            seconds_ahead = seconds_per_step() * steps_ahead
            shutil.rmtree(paths.RUNS)
            count = kill_repeatedly(options.kills, steps_ahead, seconds_ahead, rng)
            actual = train_and_export()
        total.kills, total.while_writing = total.kills + count.kills, total.while_writing + count.while_writing
        for what, digest in expected.items():
            met = f"{actual[what][:12]} after {count.kills} kills, {count.while_writing} during a write"
            checks.append(Check(f"{preset}: {what} {digest[:12]}", met, actual[what] == digest))
    wanted = total.kills // 5
    checks.append(
        Check(f"{wanted} kills during a write or more", str(total.while_writing), total.while_writing >= wanted)
    )
    report_checks(f"training killed {total.kills} times at random moments", checks)


@contextmanager
def project(preset: str) -> Iterator[None]:
    """A folder with prepared images and the params.yaml of a short run, as the working directory."""
    changes = {**SMALL, **{key: SMALL.get(key, {}) | value for key, value in PRESETS[preset].items()}}
    params = config(preset, **changes)
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        write_params(params)
        preprocess.main()
        yield


def write_params(params: Params) -> None:
    """Write params.yaml with a length and an interval between checkpoints of whole steps."""
    images = params.train.batch * params.train.discriminator_steps
    values = params.model_dump(mode="json")
    values["train"] |= {
        "length": f"{STEPS * images / 1000} kimg",
        "checkpoint_kimg": CHECKPOINT_STEPS * images / 1000,
        "keep_checkpoints": 2,
    }
    paths.PARAMS.write_text(yaml.safe_dump(values))


def train_and_export() -> dict[str, str]:
    """Train to the end and export. Returns the SHA-256 of what the run leaves behind."""
    for stage in ("train", "export"):
        process = start(stage)
        if process.wait(TIMEOUT_S):
            raise MintError(f"{stage} ended with {process.returncode}; see its output above")
    return left_behind()


def left_behind() -> dict[str, str]:
    """SHA-256 of what the run in the working directory has left behind, times aside."""
    reports = sorted(path for folder in (paths.TRAIN_REPORT, paths.SAMPLES) for path in folder.rglob("*.*"))
    newest = max(paths.RUNS.glob("*/kimg-*.pt"))
    state = load_with_checksum(newest)["state"] | {"seconds": 0.0}
    contents = {
        "ONNX file": [paths.CANDIDATE_MODEL.read_bytes()],
        "curves, probes, events and samples": [path.read_bytes() for path in reports if path.is_file()],
        "weights, averages and optimisers": [text.encode() for text in flat(state)],
    }
    return {what: hashlib.sha256(b"".join(parts)).hexdigest() for what, parts in contents.items()}


def flat(value: Any, name: str = "") -> Iterator[str]:
    """Every value of a nested state, with its name and all its digits."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from flat(part, f"{name}.{key}")
    elif isinstance(value, Tensor):
        yield f"{name} {value.dtype} {value.tolist()}\n"
    else:
        yield f"{name} {value!r}\n"


def start(stage: str) -> subprocess.Popen[bytes]:
    """Start a stage with one thread, as another number of threads adds in another order."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", f"training.{stage}"], env=environment, stdout=subprocess.DEVNULL)


def seconds_per_step() -> float:
    """Time of a training step, with its share of a checkpoint, in the run that has just ended."""
    written = sorted(path.stat().st_mtime for path in paths.RUNS.glob("*/kimg-*.pt"))
    return (written[-1] - written[0]) / CHECKPOINT_STEPS / (len(written) - 1)


def kill_repeatedly(kills: int, steps_ahead: int, seconds_ahead: float, rng: random.Random) -> KillCount:
    """Start the run and kill it, so many times, each about so many steps further on."""
    count = KillCount()
    for number in range(1, kills + 1):
        process = start("train")
        wait_for_checkpoint(process, number * steps_ahead)
        if number % WHILE_WRITING == 0:
            wait_until(process, lambda: bool(half_written()))
        else:
            time.sleep(rng.uniform(0, seconds_ahead))
        process.kill()
        process.wait()
        count.kills += 1
        count.while_writing += bool(half_written())
    return count


def wait_for_checkpoint(process: subprocess.Popen[bytes], steps: int) -> None:
    """Wait until a checkpoint of so many steps, or of more, has been written."""
    params = yaml.safe_load(paths.PARAMS.read_text())["train"]
    kimg = steps * params["batch"] * params["discriminator_steps"] / 1000
    wait_until(process, lambda: any(newest_kimg(path) >= kimg for path in paths.RUNS.glob("*/kimg-*.pt")))


def newest_kimg(checkpoint: Path) -> float:
    """Thousands of images in the name of a checkpoint."""
    return float(checkpoint.stem.removeprefix("kimg-"))


def half_written() -> list[Path]:
    """Temporary files of checkpoints."""
    return list(paths.RUNS.glob("*/.kimg-*.part"))


def wait_until(process: subprocess.Popen[bytes], condition: Any) -> None:
    """Wait for a condition while the run goes on. Raises MintError when the run ends first."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise MintError(
                "the run ended before it could be killed; raise STEPS in benchmarks/faults/kill_training.py"
            )
        time.sleep(POLL_S)


if __name__ == "__main__":
    run_stage(main)
