"""Photograph benchmark: recipes on one's own photographs after equal CPU time, the losers kept in the table.

    python -m benchmarks.photos SOURCE [--training SECONDS] [--seeds N] [--only RECIPE ...] [--workers N]
                                [--start-from FILE [--freeze N ...]]

The recipes are those that were tried on the way to the preset `photos`. Figures are those of `evaluate` on the exported
files, by MobileNetV2, which no recipe trained against. Prints a table in Markdown and writes
reports/bench-photos.json. Results and grids are kept in .runs/photos/ by a hash of the data and of the code, so an
interrupted benchmark resumes. With --start-from, a checkpoint in .runs/ or a copy of models/generator.pt, each recipe
is also trained from that file's weights, and once more for each N with the first N layers of the discriminator frozen.
"""

import argparse
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import trials
from benchmarks.configs import config
from benchmarks.machine import cpu_model
from benchmarks.trials import read_result, run_missing
from serving.error_messages import did_you_mean
from serving.errors import MintError
from serving.files import atomic_write
from training import paths
from training.data.manifest import read_manifest
from training.gan.training_state import load_training_state
from training.params import Params
from training.presets import deep_merge
from training.stage import run_stage
from training.stage_code import code_digest

RESULTS = paths.RUNS / "photos"
REPORT = Path("reports/bench-photos.json")
RESOLUTION = 64
COLUMNS = ("kid", "precision", "recall", "class_agreement", "memorised", "kimg")
MIRRORED = {"train": {"horizontal_flip": 0.5}}  # for all: a mirrored photograph is one too
DIFFAUGMENT = {"stabilise": {"augment": "diffaugment"}}

# Rows of the table: a preset and the values changed in it.
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "default": ("default", {}),
    "default, DiffAugment": ("default", DIFFAUGMENT),
    "default, ADA": ("default", {"stabilise": {"augment": "ada", "ada_kimg": 100}}),
    "r3gan": ("r3gan", {}),
    "photos": ("photos", {}),
    "few-shot": ("few-shot", {}),
    "photos, twice as wide": ("photos", {"network": {"generator_width": 32}}),
    "photos, heads half as wide": ("photos", {"network": {"discriminator_width": 32}}),
    "photos, heads twice as wide": ("photos", {"network": {"discriminator_width": 128}}),
    "photos, latent 256": ("photos", {"network": {"latent_dim": 256}}),
    "photos, no classes": ("photos", {"network": {"condition": "none"}}),
    "photos, no augmentation": ("photos", {"stabilise": {"augment": "none"}}),
    "photos, ADA": ("photos", {"stabilise": {"augment": "ada", "ada_kimg": 50}}),
    "photos, relativistic": ("photos", {"objective": {"name": "relativistic"}}),
    "photos, hinge": ("photos", {"objective": {"name": "hinge"}}),
    "photos, batch 16": ("photos", {"train": {"batch": 16}}),
    "photos, batch 64": ("photos", {"train": {"batch": 64}}),
    "photos, twice the rates": ("photos", {"train": {"generator_lr": 4.0e-3, "discriminator_lr": 4.0e-3}}),
    "photos, half the rates": ("photos", {"train": {"generator_lr": 1.0e-3, "discriminator_lr": 1.0e-3}}),
    "photos, half the generator's rate": ("photos", {"train": {"generator_lr": 1.0e-3}}),
    "photos, half the discriminator's rate": ("photos", {"train": {"discriminator_lr": 1.0e-3}}),
    "photos, EMA 3 kimg": ("photos", {"train": {"ema_half_life_kimg": 3.0}}),
    "photos, no energy distance": ("photos", {"objective": {"energy_distance": 0.0}}),
    "photos, a quarter of the energy distance": ("photos", {"objective": {"energy_distance": 4.0}}),
    "photos, four times the energy distance": ("photos", {"objective": {"energy_distance": 64.0}}),
}


@dataclass(frozen=True)
class Start:
    """Earlier weights to train on from."""

    file: str
    sha256: str
    frozen: int = 0  # first layers of the discriminator that stay as they are (FreezeD)


@dataclass(frozen=True)
class Trial:
    """One training run of a recipe on the photographs."""

    recipe: str
    seed: int
    seconds: float  # of CPU time
    source: str
    data_sha256: str  # of the prepared images
    start: Start | None = None

    @property
    def params(self) -> Params:
        """Parameters of the run."""
        return recipe_params(self.recipe, self.source, self.seed, self.start)

    @property
    def row(self) -> str:
        """Name of the run's row in the table."""
        if self.start is None:
            return self.recipe
        frozen = f", FreezeD {self.start.frozen}" if self.start.frozen else ""
        return f"{self.recipe}, from {Path(self.start.file).name}{frozen}"

    @property
    def result_path(self) -> Path:
        """File of the result; its name has a hash of the parameters, the data, and the code."""
        values = self.params.model_dump(mode="json", exclude={"name", "export", "promote", "data"})
        if self.start is not None:
            values["train"]["start_from"] = self.start.sha256
        inputs = [values, self.seconds, self.data_sha256, code_digest("train", "export", "evaluate")]
        digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
        return RESULTS / f"{re.sub(r'[^a-z0-9]+', '-', self.row.lower())}-{self.seed}-{digest[:16]}.json"


def main() -> None:
    """Run what has no result yet, then write the report and print the table."""
    parser = argparse.ArgumentParser(description="recipes for photographs after equal training time")
    parser.add_argument("source", help="folder or archive of photographs")
    parser.add_argument("--training", type=float, default=600, help="CPU seconds of each run")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each recipe")
    parser.add_argument("--only", nargs="+", default=list(RECIPES), metavar="RECIPE", help="names of recipes")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="runs at a time")
    parser.add_argument("--start-from", metavar="FILE", help="weights to train on from, beside new ones")
    parser.add_argument("--freeze", type=int, nargs="+", default=[], metavar="N", help="also with N layers frozen")
    options = parser.parse_args()
    if options.freeze and not options.start_from:
        raise MintError("--freeze is for runs with --start-from: new weights are not worth freezing")
    for name in options.only:
        if name not in RECIPES:
            hint = did_you_mean(name, RECIPES, otherwise=f"there are {', '.join(RECIPES)}")
            raise MintError(f"{name} is no recipe of this benchmark; {hint}")
    beginnings = starts(options.start_from, options.freeze)
    source = str(Path(options.source).absolute())
    trials.prepare(recipe_params("photos", source, seed=0), RESULTS)
    manifest = read_manifest(RESULTS / trials.IMAGES / paths.MANIFEST)
    runs = [
        Trial(name, seed, options.training, source, manifest.data_sha256, start)
        for seed in range(options.seeds)
        for name in options.only
        for start in beginnings
    ]
    run_missing(runs, options.workers)
    report = {
        "hardware": f"{cpu_model()}, one core a run",
        "images": manifest.images,
        "training_seconds": options.training,
        "recipes": {
            row: [read_result(trial) for trial in runs if trial.row == row]
            for row in dict.fromkeys(trial.row for trial in runs)
        },
    }
    with atomic_write(REPORT) as path:
        path.write_text(json.dumps(report, indent=2) + "\n")
    print(table(report))


def starts(file: str | None, frozen: list[int]) -> list[Start | None]:
    """New weights, and with a file its weights, with none and with each number of layers frozen."""
    if file is None:
        return [None]
    state = load_training_state(paths.expand_user_path(file).absolute())
    return [None, *(Start(str(state.file), state.sha256, count) for count in (0, *frozen))]


def recipe_params(recipe: str, source: str, seed: int, start: Start | None = None) -> Params:
    """Parameters of a recipe on a source, in colour."""
    preset, changes = RECIPES[recipe]
    data = {"source": source, "resolution": RESOLUTION, "channels": 3}
    train: dict[str, Any] = {"seed": seed, "device": "cpu"}
    if start is not None:
        train |= {"start_from": start.file, "freeze_discriminator": start.frozen}
    common = deep_merge(MIRRORED, {"data": data, "train": train})
    return config(preset, **deep_merge(common, changes))


def table(report: dict[str, Any]) -> str:
    """Markdown table of a report, the lowest KID first: means over the seeds, a dash where a run has no figure."""
    rows = sorted(report["recipes"].items(), key=lambda row: mean_of(row[1], "kid") or float("inf"))
    head = (
        f"| recipe | {' | '.join(column.replace('_', ' ') for column in COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}\n"
    )
    return head + "".join(
        f"| {name} | {' | '.join(cell(runs, column) for column in COLUMNS)} |\n" for name, runs in rows
    )


def cell(runs: list[dict[str, Any]], column: str) -> str:
    """One cell of the table."""
    average = mean_of(runs, column)
    digits = {"kid": 3, "kimg": 0}.get(column, 2)
    return "-" if average is None else f"{average:.{digits}f}"


def mean_of(runs: list[dict[str, Any]], column: str) -> float | None:
    """Mean of a figure over the runs; None unless every run has it."""
    values = [run.get(column) for run in runs]
    known = [value for value in values if value is not None]
    return mean(known) if len(known) == len(values) else None


if __name__ == "__main__":
    run_stage(main)
