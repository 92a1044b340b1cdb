"""Mode coverage of the default recipe and of plain DCGAN, tuned and not: Gaussians in the plane, Stacked Fashion-MNIST.

    python -m benchmarks.modes [--gaussians SECONDS] [--stacked SECONDS [SECONDS ...]]

Prints tables and writes reports/bench-modes.json. Every run trains for so many seconds of one core, several runs at a
time; each one that is done is kept in .runs/modes/, so an interrupted benchmark goes on where it stopped.
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
from benchmarks.experiments import pictures
from benchmarks.machine import cpu_model
from benchmarks.recipes import DEFAULT, PLAIN, PLAIN_TUNED, recipe
from serving.files import atomic_write
from training import paths
from training.evaluation.classifier import Classifier, train_classifier
from training.export import git_revision
from training.params import Params
from training.stage import run_stage
from training.stage_code import code_digest

REPORT = Path("reports/bench-modes.json")
KEPT = paths.RUNS / "modes"
RECIPES = (PLAIN, PLAIN_TUNED, DEFAULT)
MIXTURES = {"ring": gaussians.ring, "grid": gaussians.grid}
DISCRIMINATORS = {"full": 1, "quarter": 4}  # what the generator's width is divided by
GAUSSIAN_SEEDS = 5
STACKED_SEEDS = 3
CLASSIFIER_EPOCHS = 10


@dataclass(frozen=True)
class Task:
    """One training run: what is learned (a mixture, or a size of discriminator), the recipe, the seed, the budget."""

    board: str
    recipe: str
    seed: int
    cpu_seconds: float

    @property
    def params(self) -> Params:
        """The recipe as this task plays it: without classes, which would give the modes away."""
        plain = recipe(self.recipe)
        changes: dict[str, Any] = {
            "network": {"condition": "none"},
            "train": {"seed": self.seed, "horizontal_flip": 0.0},
        }
        if self.board in DISCRIMINATORS:
            changes["data"] = {"resolution": 28, "channels": 3}
            changes["network"]["discriminator_width"] = plain.network.generator_width // DISCRIMINATORS[self.board]
        else:
            changes["network"] |= {"latent_dim": gaussians.LATENT_DIM}
            changes["stabilise"] = {"augment": "none"}
        return recipe(self.recipe, **changes)

    @property
    def kept(self) -> Path:
        """Where the result is kept: the name holds all that it depends on, the code of training included."""
        values = self.params.model_dump(mode="json", exclude={"name", "export", "evaluate"})
        asked = json.dumps([asdict(self), values, code_digest("train", "export", "evaluate")])
        return KEPT / f"{self.board}-{self.recipe}-{self.seed}-{hashlib.sha256(asked.encode()).hexdigest()[:12]}.json"


def main() -> None:
    """Runs what is missing and reports all of it."""
    parser = argparse.ArgumentParser(
        description="mode coverage of the default recipe and of plain DCGAN, tuned and not"
    )
    parser.add_argument("--gaussians", type=float, default=60, help="seconds of one core a run in the plane")
    parser.add_argument(
        "--stacked", type=float, nargs="+", default=[600, 120], help="seconds of one core a run on stacked pictures"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="runs at a time")
    options = parser.parse_args()
    accuracy, floor = prepare()
    tasks = list(all_tasks(options.gaussians, options.stacked))
    results = perform(tasks, options.workers)
    rows = [summary(group, results) for group in groups(tasks)]
    report = {
        "hardware": f"{cpu_model()}, one thread a run, {options.workers} runs at a time",
        "classifier_accuracy": accuracy,
        "real": asdict(floor),
        "rows": rows,
        "runs": [asdict(task) | results[task] for task in tasks],
    }
    with atomic_write(REPORT) as path:
        path.write_text(json.dumps(report, indent=2) + "\n")
    show(rows, accuracy, floor)


def clothes() -> Path:
    """Where the embedded clothes lie as arrays, whatever params.yaml prepares."""
    kind = pictures.PictureKind(resolution=28, channels=1)
    folder = kind.folder()
    pictures.prepare(kind, folder)
    return folder


def all_tasks(gaussian_seconds: float, stacked_budgets: list[float]) -> Iterator[Task]:
    """The runs of the benchmark; recipes alternate, so that all meet the same machine."""
    for board in MIXTURES:
        for seed in range(GAUSSIAN_SEEDS):
            yield from (Task(board, name, seed, gaussian_seconds) for name in RECIPES)
    for seconds, seed, board in product(stacked_budgets, range(STACKED_SEEDS), reversed(DISCRIMINATORS)):
        yield from (Task(board, name, seed, seconds) for name in RECIPES)


def prepare() -> tuple[float, stacked.ModeCount]:
    """Prepares the clothes and the classifier once; returns its accuracy on unseen ones and what real images score."""
    clothes()
    path = KEPT / "classifier.pt"
    if not path.exists():
        found = pictures.load(clothes())
        classifier, accuracy = train_classifier(found.images, found.labels, 10, CLASSIFIER_EPOCHS, torch.device("cpu"))
        real = stacked.Stacks(found.images[..., 0]).draw(stacked.SAMPLES, np.random.RandomState(0))
        count = stacked.count_modes(real, classifier)
        KEPT.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial:
            torch.save({"state": classifier.state_dict(), "accuracy": accuracy, "real": asdict(count)}, partial)
    kept = torch.load(path, weights_only=True)
    return kept["accuracy"], stacked.ModeCount(**kept["real"])


def perform(tasks: list[Task], workers: int) -> dict[Task, dict[str, Any]]:
    """Every task's result, from where it is kept or from a run now."""
    missing = [task for task in tasks if not task.kept.exists()]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(play, task): task for task in missing}
        for position, future in enumerate(as_completed(running), start=1):
            future.result()
            print(f"{position} of {len(missing)}: {running[future]}", flush=True)
    return {task: json.loads(task.kept.read_text()) for task in tasks}


def play(task: Task) -> None:
    """Trains one run in this process and keeps what it covered."""
    torch.set_num_threads(1)
    if task.board in MIXTURES:
        found: dict[str, Any] = asdict(gaussians.cover(MIXTURES[task.board](), task.params, task.cpu_seconds))
    else:
        classifier = Classifier(channels=1, classes=10)
        classifier.load_state_dict(torch.load(KEPT / "classifier.pt", weights_only=True)["state"])
        grey = pictures.load(clothes()).images[..., 0]
        count, kimg = stacked.cover(grey, classifier.eval(), task.params, task.cpu_seconds)
        found = asdict(count) | {"kimg": kimg}
    with atomic_write(task.kept) as path:
        path.write_text(json.dumps(found | {"git_revision": git_revision()}))


def groups(tasks: list[Task]) -> list[list[Task]]:
    """The tasks that differ in their seed only."""
    together: dict[tuple[str, str, float], list[Task]] = {}
    for task in tasks:
        together.setdefault((task.board, task.recipe, task.cpu_seconds), []).append(task)
    return list(together.values())


def summary(group: list[Task], results: dict[Task, dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds of every figure."""
    alike = group[0]
    row: dict[str, Any] = {name: getattr(alike, name) for name in ("board", "recipe", "cpu_seconds")}
    row["seeds"] = len(group)
    for name, value in results[alike].items():
        if isinstance(value, int | float):
            values = [results[task][name] for task in group]
            row |= {name: mean(values), f"{name}_std": stdev(values)}
    return row


def show(rows: list[dict[str, Any]], accuracy: float, floor: stacked.ModeCount) -> None:
    """Prints both tables."""
    print(f"\n{'plane':9}{'recipe':20}{'modes':>20}{'high quality':>18}")
    for row in rows:
        if row["board"] in MIXTURES:
            modes = f"{spread(row, 'modes', 1)} of {row['of']:.0f}"
            print(f"{row['board']:9}{row['recipe']:20}{modes:>20}{spread(row, 'high_quality', 3):>18}")
    print(f"\n{'D':9}{'recipe':20}{'seconds':>9}{'modes of 1000':>20}{'KL':>18}{'kimg':>9}")
    for row in rows:
        if row["board"] in DISCRIMINATORS:
            modes, kl = spread(row, "modes", 1), spread(row, "kl", 3)
            spent = f"{row['cpu_seconds']:9g}"
            print(f"{row['board']:9}{row['recipe']:20}{spent}{modes:>20}{kl:>18}{row['kimg']:>9.0f}")
    print(f"real images: {floor.modes} modes, KL {floor.kl:.3f}; the classifier is right on {accuracy:.1%} of pictures")


def spread(row: dict[str, Any], name: str, digits: int) -> str:
    """A figure as `mean +- standard deviation`."""
    return f"{row[name]:.{digits}f} +- {row[f'{name}_std']:.{digits}f}"


if __name__ == "__main__":
    run_stage(main)
