"""Forecasts in the doctor's benchmark: how often their 80% intervals hold the KID that a run really had at its end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.doctor.recipes import RECIPES, Recipe
from benchmarks.doctor.score import Rate
from training.doctor.forecast import Forecast, forecast
from training.doctor.trace import Trace

SEEN = 0.5  # of a run, when the KID at its end is forecast
LAST_ROWS = 3  # whose mean is the KID at the end: the KID of one probe is noisy


@dataclass(frozen=True)
class Forecasted:
    """A forecast for one run, and the KID that it had."""

    recipe: Recipe
    data: str
    seed: int
    forecast: Forecast
    kid: float

    @property
    def holds(self) -> bool:
        """True if the KID is within the interval."""
        return self.forecast.low <= self.kid <= self.forecast.high


def forecasted(record: dict[str, Any]) -> Forecasted | None:
    """The forecast for a recorded run after half of it; None for one that ended early or has too few probes."""
    trace = Trace(record["rows"])
    seen = int(np.sum(trace.kimg <= SEEN * record["budget_kimg"]))
    kids = trace["kid"][-LAST_ROWS:]
    expected = forecast(trace.until(seen), float(trace.kimg[-LAST_ROWS:].mean()))
    if expected is None or trace.kimg[-1] < record["budget_kimg"] or not np.isfinite(kids).all():
        return None
    return Forecasted(RECIPES[record["recipe"]], record["data"], record["seed"], expected, float(kids.mean()))


def coverage(forecasts: Sequence[Forecasted]) -> Rate:
    """Share of the intervals that hold."""
    return Rate(sum(each.holds for each in forecasts), len(forecasts))
