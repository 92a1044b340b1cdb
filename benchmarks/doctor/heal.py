"""Healing in the doctor's benchmark: what becomes of failing runs that are healed, and of those that are begun again.

A healed run has the budget of the failing one. A restart has what is left of it at the doctor's first alarm, with
another seed: the baseline that many tools of repair do not beat (arXiv 2301.11568).
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import chdir
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch

from benchmarks.doctor.recipes import RECIPES
from benchmarks.doctor.record import EVALUATED, PROBES, measure, planted_setup
from benchmarks.doctor.runs import Run, code
from benchmarks.doctor.score import Rate, outcome
from benchmarks.experiments import dataset
from serving.errors import MintError
from serving.files import atomic_write
from training.gan.checkpoint import open_run
from training.loop import TrainingLoop
from training.param_sections import Length
from training.params import Params

CODE = (
    "training/doctor/*.py",
    "training/gan/*.py",
    "training/healing.py",
    "training/loop.py",
    "training/monitor.py",
    "training/run_setup.py",
    "benchmarks/doctor/heal.py",
)
RESTART_SEED = 1000  # added to the seed of a failing run
SEEDS = 3  # of each recipe and data, whose failing runs are treated
MAX_KID = 1.25  # of a run that counts as healed, in KIDs of healthy ones

Treatment = Literal["heal", "restart"]
TREATMENTS: tuple[Treatment, ...] = ("heal", "restart")


@dataclass(frozen=True)
class Treated:
    """A failing run that is treated."""

    run: Run
    treatment: Treatment

    @property
    def path(self) -> Path:
        """File of the result; its name has a hash of the code that treats, and that of the record."""
        return self.run.path.with_suffix(f".{self.treatment}-{code(CODE)[:8]}.json")


def treat(treated: Treated) -> None:
    """Train a treated run and write its independent metrics and what was done."""
    torch.set_num_threads(1)
    run = treated.run
    record = json.loads(run.path.read_text())
    if treated.treatment == "heal":
        params = with_train(run.params, doctor="heal", probe_kimg=record["budget_kimg"] / PROBES)
    else:
        share = outcome(record).share
        left = record["budget_kimg"] * (1 - (1.0 if share is None else share))
        if not left:  # no alarm, so nothing to begin again for
            write(treated, {"final": record["final"], "acts": []})
            return
        params = with_train(
            run.params, seed=run.seed + RESTART_SEED, length=Length(amount=left, unit="kimg"), probe_kimg=left / PROBES
        )
    write(treated, train(params, run))


def train(params: Params, run: Run) -> dict[str, Any]:
    """Train with the loop of `make train`, in a temporary folder."""
    recipe = RECIPES[run.recipe]
    split = dataset.split(dataset.load(run.images.folder()), recipe.images, EVALUATED)
    setup = planted_setup(params, recipe, split.training)
    with TemporaryDirectory() as scratch, chdir(scratch), open_run("run") as folder:
        loop = TrainingLoop(setup, folder)
        try:
            loop.train()
        except MintError as error:
            return {"final": {}, "acts": [asdict(act) for act in loop.monitor.acts], "failed": str(error)}
        if loop.monitor.best is not None and loop.monitor.clearly_worse_than_best:
            state = folder.load(loop.monitor.best.kimg)
            if state is not None:
                loop.gan.ema.load_state_dict(state["trainer"]["ema"])
        return {"final": measure(loop.gan, setup.data, split), "acts": [asdict(act) for act in loop.monitor.acts]}


def with_train(params: Params, **values: Any) -> Params:
    """Parameters with other values in `train`."""
    return params.model_copy(update={"train": params.train.model_copy(update=values)})


def all_treated(runs: Iterable[Run]) -> list[Treated]:
    """Treatments of the failing ones among recorded runs, those of a few seeds."""
    failing = [run for run in runs if not RECIPES[run.recipe].healthy and 1 <= run.seed <= SEEDS]
    return [Treated(run, treatment) for run in failing for treatment in TREATMENTS]


def healing_rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Each failing run: its KID untreated, healed and begun again, in KIDs of a healthy run, and what healing changed.

    The KID of a healthy run is the median of those of the recipe's twin, on the same data with the same budget.
    """
    finals = {run: json.loads(run.path.read_text())["final"] for run in runs}
    rows = []
    for run in dict.fromkeys(treated.run for treated in all_treated(runs)):
        twins = [run_kid(final) for other, final in finals.items() if is_twin(other, run)]
        if not twins:  # of a benchmark with --only
            continue
        results = {name: json.loads(Treated(run, name).path.read_text()) for name in TREATMENTS}
        kids = {"untreated": run_kid(finals[run])} | {name: run_kid(each["final"]) for name, each in results.items()}
        rows.append(
            {"recipe": run.recipe, "data": run.data, "seed": run.seed}
            | {name: kid / median(twins) for name, kid in kids.items()}
            | {"acts": [act["rung"] for act in results["heal"]["acts"]]}
        )
    return rows


def is_twin(other: Run, failing: Run) -> bool:
    """True for a healthy run that a failing one is compared with."""
    return other.data == failing.data and other.recipe == RECIPES[failing.recipe].twin


def run_kid(final: Mapping[str, float]) -> float:
    """KID of the last images; infinite where there are none, after NaN."""
    return final.get("kid", math.inf)


def healed_rates(rows: Sequence[Mapping[str, Any]]) -> dict[str, Rate]:
    """Share of the curable failing runs that end near a healthy one's KID: untreated, healed and begun again."""
    curable = [row for row in rows if RECIPES[row["recipe"]].curable]
    return {
        name: Rate(sum(row[name] <= MAX_KID for row in curable), len(curable)) for name in ("untreated", *TREATMENTS)
    }


def write(treated: Treated, content: dict[str, Any]) -> None:
    """Write a result."""
    with atomic_write(treated.path) as path:
        path.write_text(json.dumps(content) + "\n")
