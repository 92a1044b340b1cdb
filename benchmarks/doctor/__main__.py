"""Benchmark of the doctor.

    make bench-doctor SOURCE=flowers.zip
    python -m benchmarks.doctor [SOURCE] [--workers N] [--only RECIPE ...] [--seeds N]

Records runs that are made to fail and healthy ones, diagnoses each as it went on, forecasts its end, and trains the
failing ones again with healing, and from another seed. Writes reports/bench-doctor.json. SOURCE: photographs of
flowers, or others; without it, the runs on them are left out. Records are kept in .runs/doctor/, so that an interrupted
benchmark resumes. All of it takes hours on two cores.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol, TypeVar

from benchmarks.doctor.forecasts import coverage, forecasted
from benchmarks.doctor.heal import MAX_KID, Treated, all_treated, healed_rates, healing_rows, treat
from benchmarks.doctor.recipes import RECIPES, Recipe
from benchmarks.doctor.record import record
from benchmarks.doctor.runs import RECORDS, Run
from benchmarks.doctor.score import Outcome, Rate, Scores, confusion, outcome
from benchmarks.experiments import dataset
from benchmarks.machine import cpu_model
from serving.files import atomic_write
from training.stage import run_stage

REPORT = Path("reports/bench-doctor.json")
TUNED_DATA = "clothes"  # that the doctor's thresholds were chosen on, with the recipes marked as tuned


def main() -> None:
    """Train what has no record yet, and score everything."""
    parser = argparse.ArgumentParser(description="how often the doctor's diagnosis is right")
    parser.add_argument("source", nargs="?", help="photographs for the second half of the runs: a folder or an archive")
    parser.add_argument("--only", nargs="+", choices=RECIPES, metavar="RECIPE", default=list(RECIPES))
    parser.add_argument("--seeds", type=int, help="runs of each recipe and data, at most")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="runs at a time")
    options = parser.parse_args()
    runs = list(all_runs(options.only, options.source, options.seeds))
    for spec in {run.images for run in runs}:
        dataset.prepare(spec, spec.folder())
    train_missing(record, runs, options.workers)
    train_missing(treat, all_treated(runs), options.workers)
    records = [json.loads(run.path.read_text()) for run in runs]
    outcomes = [outcome(each) for each in records]
    forecasts = [each for each in map(forecasted, records) if each is not None]
    healing = healing_rows(runs)
    report = {
        "hardware": f"{cpu_model()}, one thread a run, {options.workers} runs at a time",
        "tuned_on": {"data": TUNED_DATA, "recipes": [name for name in RECIPES if RECIPES[name].tuned]},
        "diagnosis": {title: scores_of(part) for title, part in parts(outcomes).items()},
        "forecast": {title: plain(coverage(part)) for title, part in parts(forecasts).items()},
        "healing": {name: plain(rate) for name, rate in healed_rates(healing).items()} | {"runs": healing},
        "runs": [run_entry(each) for each in outcomes],
    }
    with atomic_write(REPORT) as path:
        path.write_text(json.dumps(report, indent=2) + "\n")
    for title, part in parts(outcomes).items():
        print_part(title, part)
    for title, judged in parts(forecasts).items():
        print(f"{title}: 80% intervals that hold {coverage(judged)}")
    for name, rate in healed_rates(healing).items():
        print(f"curable failing runs, {name}, that end within {MAX_KID} times a healthy run's KID: {rate}")


class Judged(Protocol):
    """An outcome or a forecast of a run."""

    @property
    def recipe(self) -> Recipe:
        """Recipe of the run."""
        ...

    @property
    def data(self) -> str:
        """Data of the run."""
        ...

    @property
    def seed(self) -> int:
        """Seed of the run."""
        ...


T = TypeVar("T", bound=Judged)


def parts(outcomes: list[T]) -> dict[str, list[T]]:
    """Outcomes or forecasts by how far they are from those that the thresholds were chosen on.

    The first seed of every recipe was looked at while the signs of failure were written, so it counts as chosen on.
    """
    tuned = [each for each in outcomes if each.seed == 0 or (each.recipe.tuned and each.data == TUNED_DATA)]
    held_out = [each for each in outcomes if each not in tuned]
    return {
        "recipes and data that thresholds were chosen on": tuned,
        "other recipes, the same data": [each for each in held_out if each.data == TUNED_DATA],
        "the other data": [each for each in held_out if each.data != TUNED_DATA],
    }


def scores_of(part: list[Outcome]) -> dict[str, Any]:
    """Scores and confusion matrix, as plain values."""
    scores = Scores.of(part)
    rates = {name: plain(getattr(scores, name)) for name in ("detection", "naming", "false_alarms")}
    table = {name: dict(found) for name, found in confusion(part).items()}
    return rates | {"alarm_share": scores.alarm_share, "confusion": table}


def plain(rate: Rate) -> dict[str, Any]:
    """A rate as plain values."""
    return {"share": rate.share, "interval": rate.interval, "hits": rate.hits, "of": rate.count}


def run_entry(each: Outcome) -> dict[str, Any]:
    """One run in the report."""
    return {
        "recipe": each.recipe.name,
        "data": each.data,
        "seed": each.seed,
        "diagnosis": each.name,
        "at_share_of_budget": each.share,
    }


def print_part(title: str, part: list[Outcome]) -> None:
    """Print the scores and the confusion matrix of some runs, in Markdown."""
    if not part:
        return
    scores = Scores.of(part)
    print(f"\n{title}: detection {scores.detection}, right name {scores.naming}, false alarms {scores.false_alarms}, ")
    print(
        f"median alarm at {scores.alarm_share:.0%} of the budget\n\n| recipe | expected | first alarms |\n|---|---|---|"
    )
    for name, found in confusion(part).items():
        expected = ", ".join(RECIPES[name].names) or "healthy"
        print(f"| {name} | {expected} | {', '.join(f'{count} x {what}' for what, count in found.most_common())} |")


def all_runs(recipes: list[str], source: str | None, seeds: int | None) -> Iterator[Run]:
    """All runs, seed by seed, so that an interrupted benchmark has some of each recipe."""
    count = max(RECIPES[name].seeds for name in recipes)
    for seed in range(min(count, seeds or count)):
        for name in recipes:
            recipe = RECIPES[name]
            if seed < recipe.seeds:
                yield from (Run(name, data, seed, source) for data in recipe.data if data == "clothes" or source)


def train_missing(train: Callable[[Any], None], runs: Sequence[Run | Treated], workers: int) -> None:
    """Train the runs that have no record yet, several at a time with one thread each."""
    RECORDS.mkdir(parents=True, exist_ok=True)
    missing = [run for run in runs if not run.path.exists()]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(train, run): run for run in missing}
        for position, future in enumerate(as_completed(running), start=1):
            future.result()
            print(f"{train.__name__} {position} of {len(missing)}: {running[future].path.stem}", flush=True)


if __name__ == "__main__":
    run_stage(main)
