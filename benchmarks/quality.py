"""The default recipe against plain DCGAN: the same data, the same machine, the same training time, in one run.

    python -m benchmarks.quality        writes reports/bench-quality.json and prints a table

Plain DCGAN is the recipe of Radford et al. 2015 as public code has it: no classes, no moving average, batches
of 128, z of 100 numbers, one rate for both networks. It trains for as many seconds as the default took.
"""

import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml

from serving.files import replacing
from training import paths
from training.params import load_params
from training.stage import run

REPORT = Path("reports/bench-quality.json")
SHOWN = ("kid", "fid", "precision", "recall", "class_coverage", "class_agreement")

PLAIN_DCGAN: dict[str, dict[str, Any]] = {
    "network": {
        "name": "dcgan",
        "kernel": 4,
        "latent_dim": 100,
        "generator_width": 64,
        "discriminator_width": 64,
        "conditional": False,
    },
    "train": {
        "batch": 128,
        "generator_lr": 2.0e-4,
        "discriminator_lr": 2.0e-4,
        "beta1": 0.5,
        "beta2": 0.999,
        "horizontal_flip": 0.0,
        "ema_half_life_kimg": 0.0,
    },
}


def main() -> None:
    """Trains and measures both, then writes and prints the comparison."""
    default = load_params().model_dump(mode="json")
    default["data"]["source"] = str(Path(default["data"]["source"]).resolve())
    with tempfile.TemporaryDirectory() as scratch:
        ours, seconds = train_and_measure(Path(scratch) / "default", default)
        plain = {
            section: values | PLAIN_DCGAN.get(section, {}) for section, values in default.items() if section != "name"
        }
        plain["name"] = "plain-dcgan"
        plain["train"]["length"] = f"{seconds / 60} minutes"
        theirs, _ = train_and_measure(Path(scratch) / "plain", plain)
    report = {
        "hardware": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads",
        "training_seconds": seconds,
        "default": ours,
        "plain_dcgan": theirs,
        "kid_ratio": ours["kid"] / theirs["kid"],
    }
    with replacing(REPORT) as path:
        path.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nafter {seconds / 60:.1f} minutes of training each, {ours['extractor']}, {ours['images']} images")
    print(f"{'':18}{'default':>10}{'plain':>10}{'real':>10}")
    for name in SHOWN:
        cells = [ours.get(name), theirs.get(name), ours.get(f"{name}_of_real")]
        print(f"{name:18}" + "".join("         -" if cell is None else f"{cell:10.4f}" for cell in cells))
    print(f"KID of the default / KID of plain DCGAN = {report['kid_ratio']:.2f}")


def train_and_measure(folder: Path, params: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """Runs the four stages in a folder of their own; returns the metrics and the seconds of training."""
    folder.mkdir()
    length = params["train"]["length"]
    if isinstance(length, dict):
        params["train"]["length"] = f"{length['amount']} {length['unit']}"
    (folder / paths.PARAMS).write_text(yaml.safe_dump(params))
    print(f"== {params['name']}: {params['train']['length']}", flush=True)
    for name in ("preprocess", "train", "export", "evaluate"):
        subprocess.run([sys.executable, "-m", f"training.{name}"], cwd=folder, check=True)
    metrics: dict[str, Any] = json.loads((folder / paths.METRICS).read_text())
    newest = max((folder / paths.RUNS).glob("*/kimg-*"))
    state = torch.load(newest / "state.pt", map_location="cpu", weights_only=True)
    return metrics, state["seconds"]


if __name__ == "__main__":
    run(main)
