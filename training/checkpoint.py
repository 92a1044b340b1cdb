"""The folder of one run, `.runs/<fingerprint>/`: its checkpoints, its lock, and how it goes on.

A checkpoint is a folder `kimg-000240/` with the state of the game and the reports as they stood, so that
curves and sheets go back with the weights. It gets its name only when it is whole and on the disk.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from serving.errors import MintError
from training import paths
from training.manifest import Manifest
from training.params import Params

# Changing one of these does not change what a run is, only how far it goes and what it leaves on the way.
SCHEDULE = {"length", "checkpoint_kimg", "keep_checkpoints", "sheet_epochs", "device"}
# A run trained by other code is another run.
CODE = (
    "augment.py",
    "data.py",
    "ema.py",
    "gan.py",
    "losses.py",
    "networks/*.py",
    "optimizers.py",
    "penalties.py",
    "pyramid.py",
    "stabilisers.py",
    "train.py",
)

STATE = "state.pt"


def fingerprint(params: Params, manifest: Manifest) -> str:
    """Names a run by all that shapes it but its length: data, network, training parameters and code."""
    digest = hashlib.sha256()
    shape = {
        "data": manifest.data_sha256,
        "tags": manifest.class_tags,
        "network": params.network.model_dump(),
        "objective": params.objective.model_dump(),
        "stabilise": params.stabilise.model_dump(),
        "train": params.train.model_dump(exclude=SCHEDULE),
    }
    digest.update(json.dumps(shape, sort_keys=True).encode())
    here = Path(__file__).parent
    for path in sorted(path for pattern in CODE for path in here.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class RunFolder:
    """The checkpoints of one run. Make one with `open_run`, which also takes the lock."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def checkpoints(self) -> list[Path]:
        """The whole checkpoints, oldest first."""
        return sorted(self.path.glob("kimg-*"))

    def latest(self, within: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
        """The newest state that is `within` the length asked for, with its reports put back.

        None when there is none; a shorter run then starts afresh beside the longer one.
        """
        for checkpoint in reversed(self.checkpoints()):
            state: dict[str, Any] = torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)
            if within(state):
                _put_back_reports(checkpoint)
                return state
        return None

    def save(self, state: dict[str, Any], keep: int) -> Path:
        """Writes a checkpoint, then removes all but the `keep` newest of those that led to it."""
        final = self.path / f"kimg-{state['images_seen'] / 1000:010.3f}"
        partial = self.path / f"partial-{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        with (partial / STATE).open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        for report in (paths.TRAIN_REPORT, paths.SHEETS):
            if report.exists():
                shutil.copytree(report, partial / report.name)
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        for old in [path for path in self.checkpoints() if path.name <= final.name][:-keep]:
            shutil.rmtree(old)
        return final


@contextmanager
def open_run(name: str) -> Iterator[RunFolder]:
    """Makes or reopens `.runs/<name>/` for this process alone.

    Raises MintError while another process trains in it: a pipeline that was killed can leave its training
    process behind, and two writers would ruin each other's checkpoints.
    """
    path = paths.RUNS / name
    path.mkdir(parents=True, exist_ok=True)
    with (path / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise MintError(
                f"process {lock.read().strip() or '(unknown)'} is already training {path}; wait for it or end it"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        for leftover in path.glob("partial-*"):
            shutil.rmtree(leftover)
        yield RunFolder(path)


def _put_back_reports(checkpoint: Path) -> None:
    """Replaces the reports by those of the checkpoint, so that curves hold no step twice."""
    for report in (paths.TRAIN_REPORT, paths.SHEETS):
        shutil.rmtree(report, ignore_errors=True)
        if (checkpoint / report.name).exists():
            shutil.copytree(checkpoint / report.name, report)
