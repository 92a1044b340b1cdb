"""The default against every other recipe on the embedded images, after the same time on one core each.

    python -m benchmarks.quality [--minutes N]     writes reports/bench-quality.json and prints a table

Each recipe goes through the four stages in a folder of its own, with one thread, as many of them at a time as there are
cores; so the figures are those of `evaluate`, taken on the exported files.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from benchmarks.machine import cpu_model
from benchmarks.recipes import DEFAULT, PLAIN, recipe
from serving.files import replacing
from training import paths
from training.params import Params
from training.stage import run

REPORT = Path("reports/bench-quality.json")
SHOWN = ("kid", "kid_std", "fid", "precision", "recall", "class_coverage", "class_agreement", "kimg")

# What each row of the table is: a preset, and what is changed of it.
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


def main() -> None:
    """Trains and measures all, then writes and prints the comparison."""
    parser = argparse.ArgumentParser(description="the default against every other recipe after the same time")
    parser.add_argument("--minutes", type=float, default=5, help="training time of each recipe, on one core")
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = {name: pool.submit(measure, Path(scratch), name, minutes) for name in RECIPES}
        results = {name: job.result() for name, job in jobs.items()}
    best_other = min(metrics["kid"] for name, metrics in results.items() if RECIPES[name][0] != DEFAULT)
    report = {
        "hardware": f"{cpu_model()}, one core a recipe",
        "training_minutes": minutes,
        "recipes": results,
        "kid_over_best_other": results["default"]["kid"] / best_other,
        "kid_over_plain_dcgan": results["default"]["kid"] / results["dcgan"]["kid"],
    }
    with replacing(REPORT) as path:
        path.write_text(json.dumps(report, indent=2) + "\n")
    show(report)


def show(report: dict[str, Any]) -> None:
    """Prints the table, the best KID first, and the default's ratios."""
    results = report["recipes"]
    any_row = results["default"]
    images = f"{any_row['extractor']}, {any_row['images']} images"
    print(f"\nafter {report['training_minutes']:g} minutes of training on one core each; {images}")
    print(f"{'':20}" + "".join(f"{name:>16}" for name in SHOWN))
    real = {name: any_row.get(f"{name}_of_real") for name in SHOWN}
    for name, row in [*sorted(results.items(), key=lambda item: item[1]["kid"]), ("real images", real)]:
        cells = [row.get(figure) for figure in SHOWN]
        print(f"{name:20}" + "".join(f"{'-':>16}" if cell is None else f"{cell:16.4f}" for cell in cells))
    print(f"KID of the default / KID of plain DCGAN = {report['kid_over_plain_dcgan']:.2f}")
    print(f"KID of the default / best KID of the others = {report['kid_over_best_other']:.2f}")


def measure(scratch: Path, name: str, minutes: float) -> dict[str, Any]:
    """Runs the four stages in a folder of their own; returns the metrics and the thousands of images seen."""
    preset, changes = RECIPES[name]
    folder = scratch / name
    folder.mkdir()
    (folder / paths.PARAMS).write_text(yaml.safe_dump(written(recipe(preset, **changes), minutes)))
    for stage in ("preprocess", "train", "export", "evaluate"):
        done = subprocess.run(
            [sys.executable, "-m", f"training.{stage}"],
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            text=True,
            stdout=subprocess.PIPE,
            check=True,
        )
        print(f"{name}: {done.stdout.splitlines()[-1]}", flush=True)
    metrics: dict[str, Any] = json.loads((folder / paths.METRICS).read_text())
    progress = json.loads((folder / paths.TRAIN_REPORT / "metrics.json").read_text())
    return metrics | {"kimg": progress["kimg"]}


def written(params: Params, minutes: float) -> dict[str, Any]:
    """The contents of a params.yaml for a folder elsewhere."""
    values = params.model_dump(mode="json")
    values["train"]["length"] = f"{minutes} minutes"
    values["data"]["source"] = str(Path(params.data.source).resolve())
    return values


if __name__ == "__main__":
    run(main)
