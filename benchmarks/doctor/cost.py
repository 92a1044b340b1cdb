"""Cost of the probes in a run of the default, in percent of its time, from alternating runs with and without them.

    python -m benchmarks.doctor.cost [--rounds N]

A run takes a probe at its end in any case, so the cost of one is the difference over those that are left out.
"""

import argparse
import time
from contextlib import chdir
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.configs import DEFAULT, config
from benchmarks.doctor.recipes import RECIPES
from benchmarks.doctor.record import planted_setup
from benchmarks.experiments import dataset
from training.gan.checkpoint import open_run
from training.loop import TrainingLoop
from training.run_setup import Setup
from training.stage import run_stage

KIMG = 60.0  # of each run
KIMG_BETWEEN = 10.0  # probes, in the default


def main() -> None:
    """Train by turns and print the cost."""
    parser = argparse.ArgumentParser(description="cost of the probes, from alternating runs")
    parser.add_argument("--rounds", type=int, default=3, help="runs with probes, and as many without")
    rounds = parser.parse_args().rounds
    spec = dataset.ImageSpec(resolution=28, channels=1)
    folder = spec.folder().absolute()
    dataset.prepare(spec, folder)
    images = dataset.load(folder)
    probes = KIMG / KIMG_BETWEEN
    costs = []
    for number in range(1, rounds + 1):
        with_probes, without = (seconds(images, every) for every in (KIMG_BETWEEN, KIMG))
        costs.append((with_probes - without) / (probes - 1) * probes / without)
        print(f"round {number}: {with_probes:.1f} s with probes, {without:.1f} s without", flush=True)
    low, high = min(costs), max(costs)
    print(f"the probes cost {median(costs):.1%} of the time of a run without them ({low:.1%} to {high:.1%})")


def seconds(images: dataset.LabelledImages, probe_kimg: float) -> float:
    """Seconds of training with a probe every so many kimg."""
    params = config(DEFAULT, train={"length": f"{KIMG} kimg", "probe_kimg": probe_kimg})
    setup: Setup = planted_setup(params, RECIPES[DEFAULT], images)
    with TemporaryDirectory() as scratch, chdir(scratch), open_run("run") as folder:
        loop = TrainingLoop(setup, folder)
        started = time.perf_counter()
        loop.train()
        return time.perf_counter() - started


if __name__ == "__main__":
    run_stage(main)
