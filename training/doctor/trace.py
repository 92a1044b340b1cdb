"""Trace of a run: its measurements over time, by name, whatever wrote them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Row = Mapping[str, float]  # measurements of one moment; NaN and missing ones are the same
Series = NDArray[np.float64]  # [N], NaN where the measurement is missing

OVERFIT_ROWS = 5  # whose logits are averaged: few images are held out
POSITION = "kimg"  # thousands of images seen; of a log from elsewhere, thousands of its steps


@dataclass(frozen=True)
class Trace:
    """Rows in the order of training, each with `kimg`."""

    rows: Sequence[Row]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> Series:
        """Values of one measurement: [N], NaN where it is missing."""
        return np.array([row.get(name, np.nan) for row in self.rows], np.float64)

    def has(self, name: str) -> bool:
        """True if any row has this measurement."""
        return any(name in row for row in self.rows)

    @cached_property
    def kimg(self) -> Series:
        """Thousands of images seen: [N]."""
        return self[POSITION]

    def until(self, count: int) -> "Trace":
        """The first `count` rows: what was known at that time."""
        return Trace(self.rows[:count])


def running(values: Series, window: int, reduce: str = "mean") -> Series:
    """Mean, median, minimum or maximum over the last `window` values at each moment, without NaN: [N]."""
    function = getattr(np, f"nan{reduce}")
    out = np.full(len(values), np.nan)
    for index in range(len(values)):
        recent = values[max(0, index + 1 - window) : index + 1]
        if not np.isnan(recent).all():
            out[index] = function(recent)
    return out


def best_so_far(values: Series) -> Series:
    """Lowest value up to each moment, NaN before the first one: [N]."""
    return np.fmin.accumulate(values) if len(values) else values


def first(values: Series) -> float:
    """First value that is not missing; NaN for none."""
    known = values[np.isfinite(values)]
    return float(known[0]) if len(known) else float("nan")


def change(values: Series, rows: int) -> Series:
    """Each value over that of so many rows before: [N], NaN for the first ones."""
    before = np.concatenate([np.full(min(rows, len(values)), np.nan), values[: max(len(values) - rows, 0)]])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Series = values / before
    return ratio


def overfitting(trace: Trace) -> tuple[Series, Series]:
    """How far held-out images look generated to the discriminator, r_v [N], and in how many standard errors [N].

    r_v = (D(training) - D(held out)) / (D(training) - D(generated)), of mean logits over the last rows: 0 without
    overfitting, 1 when held-out images look like generated ones (Karras et al. 2020, eq. 1).
    """
    training, held_out, generated = (trace[f"d_{name}_logit"] for name in ("training", "held_out", "generated"))
    errors = [trace[f"d_{name}_logit_error"] for name in ("training", "held_out")]
    gap, spread = running(training - held_out, OVERFIT_ROWS), running(training - generated, OVERFIT_ROWS)
    error = np.sqrt(running(errors[0] ** 2 + errors[1] ** 2, OVERFIT_ROWS) / OVERFIT_ROWS)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, gap / spread, np.nan), gap / error


def last_gain(values: Series, share: float) -> NDArray[np.int64]:
    """Index of the last gain at each moment: a value below `share` of that of the gain before, [N]."""
    gained = np.zeros(len(values), np.int64)
    level, index = np.inf, 0
    for position, value in enumerate(values):
        if value < share * level:
            level, index = value, position
        gained[position] = index
    return gained


def streak(holds: NDArray[np.bool_]) -> int:
    """Number of True at the end."""
    backwards = np.flatnonzero(~holds[::-1])
    return int(backwards[0]) if len(backwards) else len(holds)
