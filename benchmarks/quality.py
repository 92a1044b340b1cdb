"""Every recipe on the embedded images after the same small tuning and the same training time.

    python -m benchmarks.quality [--training SECONDS] [--seeds N] [--workers N]

A recipe tries two learning rates with two batches, each for the whole training time, and plays the best pair once
more with fresh seeds; its source's own pair plays beside it with the same seeds, untuned. Figures are those of
`evaluate`, taken on the exported files. Writes reports/bench-quality.json, and from it the table in docs/gans.md. Each
run that is done is kept in .runs/quality/ under the code that trained it, so an interrupted benchmark goes on.
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
from benchmarks.machine import cpu_model
from benchmarks.recipes import DEFAULT, PLAIN, recipe
from serving.errors import MintError
from serving.files import atomic_write
from training import evaluate, export, paths, preprocess
from training.data.batches import class_tag_matrix, load_training_data
from training.data.manifest import read_manifest
from training.gan.trainer import GANTrainer
from training.params import Params
from training.presets import deep_merge
from training.stage import run_stage
from training.stage_code import code_digest
from training.train import make_fabric, save_ema_weights

KEPT = paths.RUNS / "quality"
RATE_FACTORS = (1.0, 5.0)  # times the rates of the recipe's source
BATCHES = (32, 128)
TUNING_SEED = 0  # the trials take others, or the luck of the best pair would count twice
TUNING_IMAGES = 500  # enough to rank pairs by, at a quarter of the cost; KID has no bias from their number
FEATURES = "features-*.pt"  # of the real images, the same for every run

# What each row of the table is: a preset, and what is changed of it. Shoes all point left here, so nothing is mirrored.
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
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
    """One training run of a recipe: its rates times `rate_factor`, its batch, the seed, and the images measured."""

    recipe: str
    rate_factor: float
    batch: int
    seed: int
    seconds: float  # of one core
    images: int | None = None  # None for as many as params.yaml says

    @cached_property
    def params(self) -> Params:
        """The recipe as this trial plays it."""
        preset, changes = RECIPES[self.recipe]
        train = recipe(preset, **changes).train
        asked: dict[str, Any] = {
            "train": {
                "generator_lr": train.generator_lr * self.rate_factor,
                "discriminator_lr": train.discriminator_lr * self.rate_factor,
                "batch": self.batch,
                "seed": self.seed,
                "device": "cpu",
            },
            # A tuning run is ranked by its KID, which asks no classifier.
            "evaluate": {"images": self.images, "classifier_epochs": 1} if self.images else {},
        }
        return recipe(preset, **deep_merge(changes, asked))

    @cached_property
    def kept(self) -> Path:
        """Where the result is kept: the name holds all that it depends on, the code included."""
        values = self.params.model_dump(mode="json", exclude={"name", "export"})
        asked = json.dumps([asdict(self), values, code_digest("train", "export", "evaluate")], sort_keys=True)
        name = re.sub(r"\W+", "-", self.recipe)
        return KEPT / f"{name}-{hashlib.sha256(asked.encode()).hexdigest()[:16]}.json"


def main() -> None:
    """Runs what is missing, then writes the report and the documentation from all of it."""
    parser = argparse.ArgumentParser(description="every recipe after the same small tuning and the same training time")
    parser.add_argument("--training", type=float, default=60, help="seconds of one core of each run")
    parser.add_argument("--seeds", type=int, default=3, help="runs of the best pair, and of the source's")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="runs at a time")
    options = parser.parse_args()
    prepare()
    tried = {name: tuning(name, options.training) for name in RECIPES}
    perform([trial for group in tried.values() for trial in group], options.workers)
    chosen = {name: min(group, key=kid) for name, group in tried.items()}
    tuned = {name: repeated(name, best.rate_factor, best.batch, options) for name, best in chosen.items()}
    untuned = {name: repeated(name, 1.0, own_batch(name), options) for name in RECIPES}
    perform([trial for group in (*tuned.values(), *untuned.values()) for trial in group], options.workers)
    report = {
        "hardware": f"{cpu_model()}, one core a run",
        "training_seconds": options.training,
        "seeds": options.seeds,
        "recipes": {name: row(tried[name], tuned[name], untuned[name]) for name in RECIPES},
    }
    with atomic_write(quality_docs.REPORT) as path:
        path.write_text(json.dumps(report, indent=2) + "\n")
    quality_docs.write()
    print(quality_docs.section(report))


def tuning(name: str, seconds: float) -> list[Trial]:
    """What a recipe tries, the same for all: each rate factor with each batch, for the whole training time."""
    pairs = product(RATE_FACTORS, BATCHES)
    return [Trial(name, factor, batch, TUNING_SEED, seconds, TUNING_IMAGES) for factor, batch in pairs]


def own_batch(name: str) -> int:
    """The batch of a recipe's source."""
    preset, changes = RECIPES[name]
    return recipe(preset, **changes).train.batch


def repeated(name: str, rate_factor: float, batch: int, options: argparse.Namespace) -> list[Trial]:
    """The trials of one pair, with seeds that the tuning has not seen."""
    seeds = range(TUNING_SEED + 1, TUNING_SEED + 1 + options.seeds)
    return [Trial(name, rate_factor, batch, seed, options.training) for seed in seeds]


def row(tried: list[Trial], tuned: list[Trial], untuned: list[Trial]) -> dict[str, Any]:
    """What the report says of a recipe."""
    return {
        "preset": RECIPES[tuned[0].recipe][0],
        "tried": [pair_of(trial) | {"kid": result(trial).get("kid")} for trial in tried],
        "tuned": pair_of(tuned[0]) | {"runs": [result(trial) for trial in tuned]},
        "source": pair_of(untuned[0]) | {"runs": [result(trial) for trial in untuned]},
    }


def pair_of(trial: Trial) -> dict[str, float]:
    """The rates and the batch of a trial."""
    train = trial.params.train
    return {name: getattr(train, name) for name in ("generator_lr", "discriminator_lr", "batch")}


def result(trial: Trial) -> dict[str, Any]:
    """What a trial that is done has left."""
    found: dict[str, Any] = json.loads(trial.kept.read_text())
    return found


def kid(trial: Trial) -> float:
    """The KID of a trial that is done; infinite where it has none, as after an explosion."""
    found = result(trial).get("kid")
    return math.inf if found is None else float(found)


def perform(trials: Iterable[Trial], workers: int) -> None:
    """Plays every trial that has left no result yet."""
    missing = [trial for trial in dict.fromkeys(trials) if not trial.kept.exists()]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(play, trial): trial for trial in missing}
        for position, future in enumerate(as_completed(running), start=1):
            future.result()
            trial = running[future]
            print(f"{position} of {len(missing)}: {trial}: KID {kid(trial):.3f}", flush=True)


def prepare() -> None:
    """Prepares the images once for all runs."""
    folder = KEPT / "images"
    folder.mkdir(parents=True, exist_ok=True)
    write_params(recipe(DEFAULT), folder)
    with chdir(folder):
        preprocess.main()


def play(trial: Trial) -> None:
    """Trains, exports and measures one run in a folder of its own, and keeps what it scored."""
    torch.set_num_threads(1)
    params, images = trial.params, (KEPT / "images" / paths.PREPARED.parent).resolve()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_params(params, folder)
        (folder / paths.PREPARED.parent).symlink_to(images)
        share_features(KEPT, folder / paths.RUNS)
        with chdir(folder):
            found = measured(params, trial.seconds)
        share_features(folder / paths.RUNS, KEPT)
    with atomic_write(trial.kept) as path:
        path.write_text(json.dumps(found, indent=2) + "\n")


def measured(params: Params, seconds: float) -> dict[str, Any]:
    """The figures of `evaluate` and the kimg seen; for a run that cannot be measured, why not."""
    fabric = make_fabric("cpu")
    manifest = read_manifest()
    data = load_training_data(manifest, fabric.device, params.train.batch)
    gan = GANTrainer(params, class_tag_matrix(params, manifest), fabric)
    train_for(gan, data.batches(0, params.train), seconds)
    seen = {"kimg": gan.images_seen / 1000}
    if not all(torch.isfinite(weight).all() for weight in gan.ema.parameters()):
        return seen | {"failed": "the weights are not numbers"}
    save_ema_weights(gan)
    try:
        export.main()
        evaluate.main()
    except MintError as error:
        return seen | {"failed": str(error)}
    found: dict[str, Any] = json.loads(paths.METRICS.read_text())
    return found | seen


def share_features(source: Path, target: Path) -> None:
    """Copies the features of real images that another run has already computed."""
    target.mkdir(parents=True, exist_ok=True)
    for file in source.glob(FEATURES):
        if not (target / file.name).exists():
            with atomic_write(target / file.name) as path:
                shutil.copyfile(file, path)


def write_params(params: Params, folder: Path) -> None:
    """A params.yaml for a folder elsewhere."""
    values = params.model_dump(mode="json")
    values["train"]["length"] = f"{params.train.length.amount} {params.train.length.unit}"
    values["data"]["source"] = str(Path(params.data.source).resolve())
    (folder / paths.PARAMS).write_text(yaml.safe_dump(values))


if __name__ == "__main__":
    run_stage(main)
