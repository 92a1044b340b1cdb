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
import os
import re
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks import quality_docs, trials
from benchmarks.configs import DEFAULT, PLAIN, config
from benchmarks.machine import cpu_model
from benchmarks.trials import kid, read_result, run_missing
from serving.files import atomic_write
from training import paths
from training.params import Params
from training.presets import deep_merge
from training.stage import run_stage
from training.stage_code import code_digest

RESULTS = paths.RUNS / "quality"
RATE_FACTORS = (1.0, 5.0)  # times the learning rates of the source
BATCHES = (32, 128)
TUNING_SEED = 0  # final runs have others, so that the best pair's lucky seed does not count twice
TUNING_IMAGES = 500  # enough to rank pairs, at a quarter of the cost; KID is unbiased in the sample size

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


def prepare() -> None:
    """Prepare the images once for all runs."""
    trials.prepare(config(DEFAULT), RESULTS)


if __name__ == "__main__":
    run_stage(main)
