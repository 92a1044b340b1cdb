"""The doctor's benchmark: what it plants in runs, and how it counts alarms, forecasts and healed runs."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.doctor.__main__ import TUNED_DATA, parts
from benchmarks.doctor.forecasts import forecasted
from benchmarks.doctor.heal import healed_rates
from benchmarks.doctor.recipes import RECIPES
from benchmarks.doctor.record import nan_step, planted_setup
from benchmarks.doctor.runs import statements
from benchmarks.doctor.score import Outcome, Rate, Scores, confusion, outcome
from benchmarks.experiments.dataset import LabelledImages
from tests.training.project import tiny_params
from training.data.batches import TrainingData
from training.scalars import ExplosionError, StepScalars

PROBES = 20


def made_up_record(recipe: str, rows: list[dict[str, float]]) -> dict[str, Any]:
    return {"recipe": recipe, "data": TUNED_DATA, "seed": 1, "budget_kimg": float(PROBES), "rows": rows, "final": {}}


def falling(count: int = PROBES) -> list[dict[str, float]]:
    """Probes of a run that gets better all the time."""
    return [{"kimg": float(n), "kid": 2.0 / n, "kid_std": 0.01} for n in range(1, count + 1)]


def test_the_first_alarm_of_a_run_counts_and_its_share_of_the_budget() -> None:
    exploded = made_up_record("NaN planted", [*falling(4), {"kimg": 5.0, "exploded": 1.0}])
    found = outcome(exploded)
    assert (found.name, found.share, found.right) == ("explosion", 0.25, True)
    healthy = outcome(made_up_record("default", falling()))
    assert (healthy.alarmed, healthy.share) == (False, None)
    wrong = Outcome(RECIPES["latent 1"], TUNED_DATA, 1, "oscillation", 0.5)
    false = Outcome(RECIPES["default"], TUNED_DATA, 2, "plateau", 0.9)
    scores = Scores.of([found, healthy, wrong, false])
    assert [str(rate.hits) + "/" + str(rate.count) for rate in (scores.detection, scores.naming)] == ["2/2", "1/2"]
    assert (scores.false_alarms, scores.alarm_share) == (Rate(1, 2), 0.375)
    assert confusion([healthy, false])["default"] == {"healthy": 1, "plateau": 1}


def test_the_interval_of_a_rate_is_wilsons() -> None:
    """Values of Wilson 1927's formula, worked out by hand for 8 of 10."""
    assert Rate(8, 10).interval == pytest.approx((0.490, 0.943), abs=1e-3)
    assert Rate(0, 0).interval == (0.0, 1.0)


def test_runs_that_were_looked_at_are_kept_apart_from_those_that_judge() -> None:
    made = [Outcome(RECIPES[name], data, seed, "healthy", None) for name, data, seed in [
        ("default", "clothes", 1), ("default", "flowers", 1), ("latent 32", "clothes", 1), ("latent 32", "clothes", 0),
    ]]  # fmt: skip
    chosen_on, same_data, other_data = parts(made).values()
    assert (chosen_on, same_data, other_data) == ([made[0], made[3]], [made[2]], [made[1]])


def test_a_forecast_is_made_after_half_of_a_run_that_reached_its_end() -> None:
    made = forecasted(made_up_record("default", falling()))
    assert made is not None
    assert made.kid == pytest.approx(np.mean([2 / 18, 2 / 19, 2 / 20]))
    assert made.forecast.low < made.forecast.high
    assert forecasted(made_up_record("default", falling(15))) is None


def test_a_healed_run_is_near_a_healthy_ones_kid_and_incurable_recipes_do_not_count() -> None:
    row = {"untreated": math.inf, "heal": 1.2, "restart": 1.3}
    rows = [row | {"recipe": "NaN planted"}, row | {"recipe": "no batch norm"}]
    assert healed_rates(rows) == {"untreated": Rate(0, 1), "heal": Rate(1, 1), "restart": Rate(0, 1)}


def test_a_record_belongs_to_the_statements_that_made_it() -> None:
    code = 'def f(x):\n    """Double."""\n    return 2 * x  # twice\n'
    assert statements(code) == statements("import os\n\n\ndef f(x):\n    return 2 * x\n")
    assert statements(code) != statements("def f(x):\n    return 3 * x\n")


@pytest.fixture(scope="module")
def images() -> LabelledImages:
    random = np.random.RandomState(0)
    return LabelledImages(random.randint(0, 256, (64, 28, 28, 1), np.uint8), np.arange(64) % 4)


def test_planted_faults_are_there(images: LabelledImages) -> None:
    params = tiny_params(train={"batch": 16, "length": "0.32 kimg"})
    nan = planted_setup(params, RECIPES["NaN planted"], images)
    gan, step = nan.trainer(params), nan_step(params.train.seed, int(nan.budget.steps))
    scalars, batches = StepScalars(), nan.data.batches(0, params.train)
    for _ in range(step):
        scalars.add(gan.step(batches))
    scalars.statistics()
    scalars.add(gan.step(batches))
    with pytest.raises(ExplosionError):
        scalars.statistics()
    bare = planted_setup(params, RECIPES["no batch norm"], images).trainer(params)
    assert not any("Norm" in type(layer).__name__ for layer in bare.generator.modules())
    shuffled = planted_setup(params, RECIPES["labels shuffled"], images).data
    assert sorted(labels_of(shuffled)) == sorted(images.labels)
    assert labels_of(shuffled) != images.labels.tolist()


def labels_of(data: TrainingData) -> list[int]:
    labels: list[int] = torch.as_tensor(data.labels).tolist()
    return labels
