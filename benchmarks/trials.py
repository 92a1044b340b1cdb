"""Trials of the quality benchmarks: each trains for CPU seconds, is exported and evaluated, and its result is kept.

Results are named by a hash of what shaped them, so that an interrupted benchmark resumes.
"""

import json
import math
import shutil
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import chdir
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import torch
import yaml

from benchmarks.budget import train_for
from serving.errors import MintError
from serving.files import atomic_write
from training import evaluate, export, paths, preprocess
from training.data.manifest import read_manifest
from training.fabric import make_fabric
from training.gan.start import load_start
from training.params import Params
from training.run_setup import Setup
from training.train import save_networks

IMAGES = "images"  # folder of the prepared images, beside the results
FEATURES = "features-*.pt"  # of real images, shared by all trials


class Trial(Protocol):
    """One training run, on images that `prepare` has put beside its result."""

    @property
    def params(self) -> Params:
        """Parameters of the run."""

    @property
    def seconds(self) -> float:
        """CPU time of the training."""

    @property
    def result_path(self) -> Path:
        """File of the result, named by a hash of everything that shapes it."""


def read_result(trial: Trial) -> dict[str, Any]:
    """Result of a finished trial."""
    result: dict[str, Any] = json.loads(trial.result_path.read_text())
    return result


def kid(trial: Trial) -> float:
    """KID of a finished trial; infinite where it has none, as after divergence."""
    value = read_result(trial).get("kid")
    return math.inf if value is None else float(value)


def run_missing(trials: Iterable[Trial], workers: int) -> None:
    """Run every trial that has no result yet."""
    missing = [trial for trial in dict.fromkeys(trials) if not trial.result_path.exists()]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(train_and_save, trial): trial for trial in missing}
        for position, future in enumerate(as_completed(running), start=1):
            future.result()
            trial = running[future]
            print(f"{position} of {len(missing)}: {trial}: KID {kid(trial):.3f}", flush=True)


def prepare(params: Params, results: Path) -> None:
    """Prepare the images of params.yaml once for all trials whose results are in a folder."""
    folder = results / IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    write_params(params, folder)
    with chdir(folder):
        preprocess.main()


def train_and_save(trial: Trial) -> None:
    """Train, export and evaluate one run in a folder of its own, and save its result."""
    torch.set_num_threads(1)
    params, results = trial.params, trial.result_path.parent.resolve()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_params(params, folder)
        (folder / paths.PREPARED.parent).symlink_to(results / IMAGES / paths.PREPARED.parent)
        share_features(results, folder / paths.RUNS)
        with chdir(folder):
            result = train_and_evaluate(params, trial.seconds)
        share_features(folder / paths.RUNS, results)
        if (grid := folder / paths.CANDIDATE_GRID).exists():
            shutil.copyfile(grid, trial.result_path.with_suffix(".png"))
    with atomic_write(trial.result_path) as path:
        path.write_text(json.dumps(result, indent=2) + "\n")


def train_and_evaluate(params: Params, seconds: float) -> dict[str, Any]:
    """Figures of `evaluate` and the kimg seen; for a run that cannot be evaluated, the reason under `failed`."""
    fabric = make_fabric("cpu")
    manifest = read_manifest()
    setup = Setup.of(params, manifest, fabric, load_start(params, manifest))
    gan, _ = setup.started_trainer(params)
    train_for(gan, setup.data.batches(0, params.train), seconds)
    seen = {"kimg": gan.images_seen / 1000}
    if not all(torch.isfinite(weight).all() for weight in gan.ema.parameters()):
        return seen | {"failed": "the weights are not numbers"}
    save_networks(gan, setup.data, setup.describe(gan), {"acts": []})
    try:
        export.main()
        evaluate.main()
    except MintError as error:
        return seen | {"failed": str(error)}
    metrics: dict[str, Any] = json.loads(paths.CANDIDATE_METRICS.read_text())
    return metrics | seen


def share_features(source: Path, target: Path) -> None:
    """Copy the features of real images that another run has already computed."""
    target.mkdir(parents=True, exist_ok=True)
    for file in source.glob(FEATURES):
        if not (target / file.name).exists():
            with atomic_write(target / file.name) as path:
                shutil.copyfile(file, path)


def write_params(params: Params, folder: Path) -> None:
    """Write params.yaml into another folder."""
    values = params.model_dump(mode="json")
    values["train"]["length"] = f"{params.train.length.amount} {params.train.length.unit}"
    values["data"]["source"] = str(Path(params.data.source).resolve())
    (folder / paths.PARAMS).write_text(yaml.safe_dump(values))
