"""Quality benchmark: all configurations on the embedded images, with equal tuning and equal training time.

    python -m benchmarks.quality [--training SECONDS] [--seeds N] [--workers N]

Each configuration tries two learning rates with two batch sizes, each for the whole training time, and trains the best
pair again with new seeds; its source's own pair trains with the same seeds, untuned. Figures are those of `evaluate`,
computed on the exported files. Writes reports/bench-quality.json, and from it the table in docs/gans.md. Each result is
kept in .runs/quality/ by a hash of the code that trained it, so an interrupted benchmark resumes.
"""

import argparse
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import chdir
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml

from benchmarks import quality_docs
from benchmarks.budget import train_for
from benchmarks.configs import DEFAULT, PLAIN, config
from benchmarks.machine import cpu_model
from serving.errors import MintError
from serving.files import atomic_write
from training import evaluate, export, paths, preprocess
from training.data.batches import class_tag_matrix, load_training_data
from training.data.manifest import read_manifest
from training.gan.start import describe
from training.gan.trainer import GANTrainer
from training.params import Params
from training.presets import deep_merge
from training.stage import run_stage
from training.stage_code import code_digest
from training.train import make_fabric, save_weights

RESULTS = paths.RUNS / "quality"
RATE_FACTORS = (1.0, 5.0)  # times the learning rates of the source
BATCHES = (32, 128)
TUNING_SEED = 0  # final runs have others, so that the best pair's lucky seed does not count twice
TUNING_IMAGES = 500  # enough to rank pairs, at a quarter of the cost; KID is unbiased in the sample size
FEATURES = "features-*.pt"  # of real images, shared by all runs

# Rows of the table: a preset and the values changed in it. Shoes all point left here, so images are not mirrored.
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "default": (DEFAULT, {}),
    "default, no classes": (DEFAULT, {"network": {"condition": "none"}}),
    "dense": ("digits-gan", {}),
    "upsampling": ("flowers-28", {"train": {"horizontal_flip": 0.0}}),
    "dcgan": (PLAIN, {}),
    "wgan": ("anime-wgan", {"train": {"horizontal_flip": 0.0}}),
    "wgan-gp": ("anime-wgan-gp", {"train": {"horizontal_flip": 0.0}}),
    "residual": ("r3gan", {}),
}


@dataclass(frozen=True)
class Trial:
    """One training run of a configuration; `rate_factor` multiplies both learning rates."""

    config: str
    rate_factor: float
    batch: int
    seed: int
    seconds: float  # of CPU time
    images: int | None = None  # to evaluate on; None for the number in params.yaml

    @cached_property
    def params(self) -> Params:
        """Parameters of the run."""
        preset, changes = CONFIGS[self.config]
        train = config(preset, **changes).train
        own_changes: dict[str, Any] = {
            "train": {
                "generator_lr": train.generator_lr * self.rate_factor,
                "discriminator_lr": train.discriminator_lr * self.rate_factor,
                "batch": self.batch,
                "seed": self.seed,
                "device": "cpu",
            },
            # Tuning runs are ranked by KID, which needs no classifier.
            "evaluate": {"images": self.images, "classifier_epochs": 1} if self.images else {},
        }
        return config(preset, **deep_merge(changes, own_changes))

    @cached_property
    def result_path(self) -> Path:
        """File of the result; its name has a hash of the parameters and of the code that trains and evaluates."""
        values = self.params.model_dump(mode="json", exclude={"name", "export"})
        inputs = json.dumps([asdict(self), values, code_digest("train", "export", "evaluate")], sort_keys=True)
        name = re.sub(r"\W+", "-", self.config)
        return RESULTS / f"{name}-{hashlib.sha256(inputs.encode()).hexdigest()[:16]}.json"


def main() -> None:
    """Run what has no result yet, then write the report and the documentation."""
    parser = argparse.ArgumentParser(description="all configurations with equal tuning and equal training time")
    parser.add_argument("--training", type=float, default=60, help="CPU seconds of each run")
    parser.add_argument("--seeds", type=int, default=3, help="runs of the best pair, and of the source's own")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="runs at a time")
    options = parser.parse_args()
    prepare()
    tried = {name: tuning(name, options.training) for name in CONFIGS}
    run_missing([trial for group in tried.values() for trial in group], options.workers)
    chosen = {name: min(group, key=kid) for name, group in tried.items()}
    tuned = {name: repeated(name, best.rate_factor, best.batch, options) for name, best in chosen.items()}
    untuned = {name: repeated(name, 1.0, own_batch(name), options) for name in CONFIGS}
    run_missing([trial for group in (*tuned.values(), *untuned.values()) for trial in group], options.workers)
    report = {
        "hardware": f"{cpu_model()}, one core a run",
        "training_seconds": options.training,
        "seeds": options.seeds,
        "recipes": {name: row(tried[name], tuned[name], untuned[name]) for name in CONFIGS},
    }
    with atomic_write(quality_docs.REPORT) as path:
        path.write_text(json.dumps(report, indent=2) + "\n")
    quality_docs.write()
    print(quality_docs.section(report))


def tuning(name: str, seconds: float) -> list[Trial]:
    """Trials to tune a configuration, the same for all: each rate factor with each batch size."""
    pairs = product(RATE_FACTORS, BATCHES)
    return [Trial(name, factor, batch, TUNING_SEED, seconds, TUNING_IMAGES) for factor, batch in pairs]


def own_batch(name: str) -> int:
    """Batch size of a configuration's source."""
    preset, changes = CONFIGS[name]
    return config(preset, **changes).train.batch


def repeated(name: str, rate_factor: float, batch: int, options: argparse.Namespace) -> list[Trial]:
    """Trials of one pair, with other seeds than the tuning's."""
    seeds = range(TUNING_SEED + 1, TUNING_SEED + 1 + options.seeds)
    return [Trial(name, rate_factor, batch, seed, options.training) for seed in seeds]


def row(tried: list[Trial], tuned: list[Trial], untuned: list[Trial]) -> dict[str, Any]:
    """Entry of a configuration in the report."""
    return {
        "preset": CONFIGS[tuned[0].config][0],
        "tried": [pair_of(trial) | {"kid": read_result(trial).get("kid")} for trial in tried],
        "tuned": pair_of(tuned[0]) | {"runs": [read_result(trial) for trial in tuned]},
        "source": pair_of(untuned[0]) | {"runs": [read_result(trial) for trial in untuned]},
    }


def pair_of(trial: Trial) -> dict[str, float]:
    """Learning rates and batch size of a trial."""
    train = trial.params.train
    return {name: getattr(train, name) for name in ("generator_lr", "discriminator_lr", "batch")}


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


def prepare() -> None:
    """Prepare the images once for all runs."""
    folder = RESULTS / "images"
    folder.mkdir(parents=True, exist_ok=True)
    write_params(config(DEFAULT), folder)
    with chdir(folder):
        preprocess.main()


def train_and_save(trial: Trial) -> None:
    """Train, export and evaluate one run in a folder of its own, and save its result."""
    torch.set_num_threads(1)
    params, images = trial.params, (RESULTS / "images" / paths.PREPARED.parent).resolve()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_params(params, folder)
        (folder / paths.PREPARED.parent).symlink_to(images)
        share_features(RESULTS, folder / paths.RUNS)
        with chdir(folder):
            result = train_and_evaluate(params, trial.seconds)
        share_features(folder / paths.RUNS, RESULTS)
    with atomic_write(trial.result_path) as path:
        path.write_text(json.dumps(result, indent=2) + "\n")


def train_and_evaluate(params: Params, seconds: float) -> dict[str, Any]:
    """Figures of `evaluate` and the kimg seen; for a run that cannot be evaluated, the reason under `failed`."""
    fabric = make_fabric("cpu")
    manifest = read_manifest()
    data = load_training_data(manifest, fabric.device, params.train.batch)
    gan = GANTrainer(params, class_tag_matrix(params, manifest), fabric)
    train_for(gan, data.batches(0, params.train), seconds)
    seen = {"kimg": gan.images_seen / 1000}
    if not all(torch.isfinite(weight).all() for weight in gan.ema.parameters()):
        return seen | {"failed": "the weights are not numbers"}
    save_weights(gan, describe(gan, manifest, None))
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


if __name__ == "__main__":
    run_stage(main)
