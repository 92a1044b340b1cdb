"""Mode-coverage benchmark of the default and of plain DCGAN, tuned and not: 2D Gaussians and Stacked Fashion-MNIST.

    python -m benchmarks.modes [--gaussians SECONDS] [--stacked SECONDS [SECONDS ...]]

Prints tables and writes reports/bench-modes.json. Every run has a budget of CPU seconds on one core, and several run at
a time. Each result is kept in .runs/modes/, so an interrupted benchmark resumes.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch

from benchmarks import gaussians, stacked
from benchmarks.configs import DEFAULT, PLAIN, PLAIN_TUNED, config
from benchmarks.experiments import dataset
from benchmarks.machine import cpu_model
from serving.files import atomic_write
from training import paths
from training.evaluation.classifier import Classifier, train_classifier
from training.export import git_revision
from training.params import Params
from training.stage import run_stage
from training.stage_code import code_digest
from training.torch_files import save_with_checksum

REPORT = Path("reports/bench-modes.json")
RESULTS = paths.RUNS / "modes"
CONFIGS = (PLAIN, PLAIN_TUNED, DEFAULT)
MIXTURES = {"ring": gaussians.ring, "grid": gaussians.grid}
DISCRIMINATORS = {"full": 1, "quarter": 4}  # width of the generator over that of the discriminator
GAUSSIAN_SEEDS = 5
STACKED_SEEDS = 3
CLASSIFIER_EPOCHS = 10


@dataclass(frozen=True)
class Run:
    """One training run. task: a mixture, or Stacked Fashion-MNIST with a size of discriminator."""

    task: str
    config: str
    seed: int
    cpu_seconds: float

    @property
    def params(self) -> Params:
        """Parameters of the run: unconditional, as classes would reveal the modes."""
        base = config(self.config)
        changes: dict[str, Any] = {
            "network": {"condition": "none"},
            "train": {"seed": self.seed, "horizontal_flip": 0.0},
        }
        if self.task in DISCRIMINATORS:
            changes["data"] = {"resolution": 28, "channels": 3}
            changes["network"]["discriminator_width"] = base.network.generator_width // DISCRIMINATORS[self.task]
        else:
            changes["network"] |= {"latent_dim": gaussians.LATENT_DIM}
            changes["stabilise"] = {"augment": "none"}
        return config(self.config, **changes)

    @property
    def result_path(self) -> Path:
        """File of the result; its name has a hash of the parameters and of the code that trains and evaluates."""
        values = self.params.model_dump(mode="json", exclude={"name", "export", "evaluate"})
        inputs = json.dumps([asdict(self), values, code_digest("train", "export", "evaluate")])
        digest = hashlib.sha256(inputs.encode()).hexdigest()[:12]
        return RESULTS / f"{self.task}-{self.config}-{self.seed}-{digest}.json"

    @property
    def report_keys(self) -> dict[str, Any]:
        """Keys of the run in the report."""
        return {"board": self.task, "recipe": self.config, "cpu_seconds": self.cpu_seconds}


def main() -> None:
    """Run what has no result yet, then write and print the report."""
    parser = argparse.ArgumentParser(description="mode coverage of the default and of plain DCGAN, tuned and not")
    parser.add_argument("--gaussians", type=float, default=60, help="CPU seconds of a run on Gaussians")
    parser.add_argument(
        "--stacked", type=float, nargs="+", default=[600, 120], help="CPU seconds of a run on stacked images"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="runs at a time")
    options = parser.parse_args()
    accuracy, real = prepare()
    runs = list(all_runs(options.gaussians, options.stacked))
    results = run_missing(runs, options.workers)
    rows = [summary(group, results) for group in groups(runs)]
    report = {
        "hardware": f"{cpu_model()}, one thread a run, {options.workers} runs at a time",
        "classifier_accuracy": accuracy,
        "real": asdict(real),
        "rows": rows,
        "runs": [run.report_keys | {"seed": run.seed} | results[run] for run in runs],
    }
    with atomic_write(REPORT) as path:
        path.write_text(json.dumps(report, indent=2) + "\n")
    print_tables(rows, accuracy, real)


def fashion_mnist() -> dataset.LabelledImages:
    """The embedded Fashion-MNIST as arrays, whatever params.yaml names as the source."""
    spec = dataset.ImageSpec(resolution=28, channels=1)
    folder = spec.folder()
    dataset.prepare(spec, folder)
    return dataset.load(folder)


def all_runs(gaussian_seconds: float, stacked_budgets: list[float]) -> Iterator[Run]:
    """All runs; configurations alternate, so that a drift in machine speed affects all alike."""
    for task in MIXTURES:
        for seed in range(GAUSSIAN_SEEDS):
            yield from (Run(task, name, seed, gaussian_seconds) for name in CONFIGS)
    for seconds, seed, task in product(stacked_budgets, range(STACKED_SEEDS), reversed(DISCRIMINATORS)):
        yield from (Run(task, name, seed, seconds) for name in CONFIGS)


def prepare() -> tuple[float, stacked.ModeCount]:
    """Prepare images and classifier once; returns its accuracy on held-out images, and the modes of real ones."""
    images = fashion_mnist()
    path = RESULTS / "classifier.pt"
    if not path.exists():
        pixels, labels = images.images, images.labels
        classifier, accuracy = train_classifier(pixels, labels, 10, CLASSIFIER_EPOCHS, torch.device("cpu"))
        real = stacked.StackedImages(pixels[..., 0]).sample(stacked.SAMPLES, np.random.RandomState(0))
        count = stacked.count_modes(real, classifier)
        save_with_checksum({"state": classifier.state_dict(), "accuracy": accuracy, "real": asdict(count)}, path)
    saved = torch.load(path, weights_only=True)
    return saved["accuracy"], stacked.ModeCount(**saved["real"])


def run_missing(runs: list[Run], workers: int) -> dict[Run, dict[str, Any]]:
    """Train the runs that have no result yet, and return the results of all."""
    missing = [run for run in runs if not run.result_path.exists()]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(train_and_save, run): run for run in missing}
        for position, future in enumerate(as_completed(running), start=1):
            future.result()
            print(f"{position} of {len(missing)}: {running[future]}", flush=True)
    return {run: json.loads(run.result_path.read_text()) for run in runs}


def train_and_save(run: Run) -> None:
    """Train one run in this process and save its result."""
    torch.set_num_threads(1)
    if run.task in MIXTURES:
        coverage = gaussians.train_and_evaluate(MIXTURES[run.task](), run.params, run.cpu_seconds)
        result: dict[str, Any] = asdict(coverage)
    else:
        classifier = Classifier(channels=1, classes=10)
        classifier.load_state_dict(torch.load(RESULTS / "classifier.pt", weights_only=True)["state"])
        grey = fashion_mnist().images[..., 0]
        count, kimg = stacked.train_and_evaluate(grey, classifier.eval(), run.params, run.cpu_seconds)
        result = asdict(count) | {"kimg": kimg}
    with atomic_write(run.result_path) as path:
        path.write_text(json.dumps(result | {"git_revision": git_revision()}))


def groups(runs: list[Run]) -> list[list[Run]]:
    """Runs grouped by all but their seed."""
    grouped: dict[tuple[str, str, float], list[Run]] = {}
    for run in runs:
        grouped.setdefault((run.task, run.config, run.cpu_seconds), []).append(run)
    return list(grouped.values())


def summary(group: list[Run], results: dict[Run, dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation of every figure over the seeds."""
    row = group[0].report_keys | {"seeds": len(group)}
    for name, value in results[group[0]].items():
        if isinstance(value, int | float):
            values = [results[run][name] for run in group]
            row |= {name: mean(values), f"{name}_std": stdev(values)}
    return row


def print_tables(rows: list[dict[str, Any]], accuracy: float, real: stacked.ModeCount) -> None:
    """Print both tables."""
    print(f"\n{'mixture':9}{'configuration':20}{'modes':>20}{'high quality':>18}")
    for row in rows:
        if row["board"] in MIXTURES:
            modes = f"{mean_and_std(row, 'modes', 1)} of {row['of']:.0f}"
            print(f"{row['board']:9}{row['recipe']:20}{modes:>20}{mean_and_std(row, 'high_quality', 3):>18}")
    print(f"\n{'D':9}{'configuration':20}{'seconds':>9}{'modes of 1000':>20}{'KL':>18}{'kimg':>9}")
    for row in rows:
        if row["board"] in DISCRIMINATORS:
            modes, kl = mean_and_std(row, "modes", 1), mean_and_std(row, "kl", 3)
            seconds = f"{row['cpu_seconds']:9g}"
            print(f"{row['board']:9}{row['recipe']:20}{seconds}{modes:>20}{kl:>18}{row['kimg']:>9.0f}")
    print(f"real images: {real.modes} modes, KL {real.kl:.3f}; the classifier is right on {accuracy:.1%} of images")


def mean_and_std(row: dict[str, Any], name: str, digits: int) -> str:
    """A figure as `mean +- standard deviation`."""
    return f"{row[name]:.{digits}f} +- {row[f'{name}_std']:.{digits}f}"


if __name__ == "__main__":
    run_stage(main)
