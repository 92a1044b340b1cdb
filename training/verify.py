"""Verification of a run: a stretch between two kept checkpoints is trained again, and compared bit for bit.

    mint verify [RUN] [--seed N]

RUN: a folder in .runs/, by default that of the newest run. The stretch begins at a random checkpoint but the last; it
is trained in a temporary folder with the parameters that the checkpoint holds.
"""

import math
import random
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from serving.errors import MintError
from training import paths
from training.budget import TrainingBudget
from training.data.manifest import read_manifest
from training.fabric import make_fabric
from training.gan.checkpoint import RunFolder, open_run
from training.gan.environment import differences, environment
from training.loop import TrainingLoop
from training.params import read_params, validate_params
from training.presets import deep_merge
from training.run_setup import Setup
from training.torch_files import DamagedFileError, load_with_checksum

COMPARED = ("state", "reports")  # parts of a checkpoint
IGNORED = {"state.seconds"}  # times differ from run to run
NO_CAUSE = (
    "nothing that is recorded has changed since: on a GPU set train.deterministic, elsewhere report this as a defect"
)
ORDER = ("data", "params", "code", "library", "processor")  # what to name first


@dataclass(frozen=True)
class Difference:
    """A value of the checkpoint that is not the same after training the stretch again."""

    name: str
    size: str  # for a tensor its largest difference


def verify(run: str | None, seed: int | None) -> str:
    """Train a random stretch of a run again. Returns one line on the outcome.

    Raises MintError where there are no two checkpoints to compare, and when the result differs.
    """
    folder = run_folder(run)
    first, last = random.Random(seed).choice(stretches(folder))
    before, after = load_with_checksum(first), load_with_checksum(last)
    params = validate_params(deep_merge(read_params(), before["environment"]["params"]), "the checkpoint")
    manifest = read_manifest()
    fabric = make_fabric(params.train.device, params.train.deterministic)
    now = environment(params, manifest, fabric.device)
    both = (differences(checkpoint["environment"], now) for checkpoint in (before, after))
    changed = list(dict.fromkeys(chain.from_iterable(both)))
    for kind, what in changed:
        if kind == "data":
            raise MintError(f"the prepared images are not those of {folder}: {what}; run dvc repro with its data first")
    stretch = f"{kimg(before)} to {kimg(after)} kimg of {folder}"
    print(f"training {stretch} again", flush=True)
    setup = Setup.of(params, manifest, fabric, start=None)
    setup = replace(setup, budget=TrainingBudget(after["state"]["trainer"]["steps"], math.inf))
    again = train_again(setup, folder.name, first, last.name)
    found = [found for part in COMPARED for found in compare(after[part], again[part], part)]
    if not found:
        return (
            f"verified: {stretch}, trained again, is equal bit for bit: {count_tensors(after)} tensors and all reports"
        )
    named = "; ".join(f"{kind}: {what}" for kind, what in sorted(changed, key=lambda each: ORDER.index(each[0])))
    cause = f"what has changed since: {named}" if changed else NO_CAUSE
    raise MintError(f"{stretch} cannot be repeated: {found[0].name} differs first{found[0].size}; {cause}")


def run_folder(name: str | None) -> Path:
    """Folder of a run by its name, by default of the newest one. Raises MintError where there is none."""
    runs = paths.persistent_runs()
    if name is not None:
        folder = runs / Path(name).name
        if not folder.is_dir():
            raise MintError(f"{folder} does not exist; name a folder in {runs}, or none for the newest run")
        return folder
    newest = max(runs.glob("*/kimg-*.pt"), key=lambda path: path.stat().st_mtime_ns, default=None)
    if newest is None:
        raise MintError(f"{runs} has no run; make train starts one")
    return newest.parent


def stretches(folder: Path) -> list[tuple[Path, Path]]:
    """Pairs of intact checkpoints, each with the next one. Raises MintError where there are none.

    A stretch in which the doctor changed something is left out: what it changes depends on how much of the run is left,
    and a stretch is trained as the end of one.
    """
    intact, acts = [], {}
    for checkpoint in RunFolder(folder).checkpoints():
        try:
            content = load_with_checksum(checkpoint)
            if "environment" not in content:
                continue
            intact.append(checkpoint)
            acts[checkpoint] = content["state"]["monitor"]["acts"]
        except DamagedFileError as error:
            print(f"{error} and is left out")
    found = [(first, last) for first, last in pairwise(intact) if acts[first] == acts[last]]
    if not found:
        raise MintError(
            f"{folder} has {len(intact)} intact checkpoints, too few for a stretch that can be repeated; raise "
            "train.keep_checkpoints, or lower train.checkpoint_kimg, and train again"
        )
    return found


def train_again(setup: Setup, name: str, first: Path, last: str) -> dict[str, Any]:
    """Train from a checkpoint, in a temporary folder; returns the content of the checkpoint at the end."""
    # With those before, which a run that heals may go back to.
    checkpoints = [other.resolve() for other in RunFolder(first.parent).checkpoints() if other.name <= first.name]
    with TemporaryDirectory() as scratch, chdir(scratch), open_run(name) as run:
        for earlier in checkpoints:
            (run.path / earlier.name).symlink_to(earlier)
        TrainingLoop(setup, run).train()
        content: dict[str, Any] = load_with_checksum(run.path / last)
    return content


def compare(expected: Any, actual: Any, name: str = "") -> Iterator[Difference]:
    """Yield the values that differ between two contents of a checkpoint, by their dotted names."""
    if name in IGNORED:
        return
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key in dict.fromkeys([*expected, *actual]):
            yield from compare(expected.get(key), actual.get(key), f"{name}.{key}" if name else str(key))
    elif isinstance(expected, Tensor) and isinstance(actual, Tensor):
        if not torch.equal(expected, actual):
            same = expected.shape == actual.shape
            size = f" (by up to {(expected.double() - actual.double()).abs().max().item():.1e})" if same else ""
            yield Difference(name, size)
    elif expected != actual:
        yield Difference(name, "")


def count_tensors(content: Any) -> int:
    """Number of tensors in a checkpoint."""
    if isinstance(content, dict):
        return sum(count_tensors(value) for value in content.values())
    return int(isinstance(content, Tensor))


def kimg(content: dict[str, Any]) -> float:
    """Thousands of images that a checkpoint has seen."""
    images: int = content["state"]["images_seen"]
    return images / 1000
