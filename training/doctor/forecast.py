"""Forecast of the KID that a run will have, from the KIDs of its probes, with an 80% interval.

Over a run KID falls roughly as a power of the images seen, so its logarithm is followed along the logarithm of these.
The interval is the wider the less steady the curve was, and the further ahead it looks; the widths were chosen on the
first seed of each recipe of `make bench-doctor`, and are judged there on the others.
"""

import math
from dataclasses import dataclass

import numpy as np

from training.doctor.trace import Series, Trace

MIN_ROWS = 6  # rows with a KID before anything is forecast
FLOOR = 0.01  # added to a KID before its logarithm is taken: below, it is noise, and can be negative
LEVEL_ROWS = 3  # last rows whose mean is the present level
PRIOR_SLOPE = -0.4  # of log KID over log kimg, in a run that is known no better
PRIOR_ROWS = 8.0  # the slope of as many rows weighs as much as the prior
MIN_SLOPE, MAX_SLOPE = -1.5, 0.3
NOISE = 0.1  # standard deviation of log KID from the noise of the probes, at least
# Half of the interval, in standard deviations of the curve around its trend, and what a unit of log kimg ahead adds.
WIDTH, WIDTH_AHEAD = 1.0, 2.3


@dataclass(frozen=True)
class Forecast:
    """KID expected after `kimg` thousands of images, and the ends of an 80% interval."""

    kimg: float
    kid: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"KID {self.kid:.3f} ({self.low:.3f} to {self.high:.3f}) after {self.kimg:.0f} kimg"


def forecast(trace: Trace, kimg: float) -> Forecast | None:
    """Forecast the KID at `kimg` thousands of images; None for fewer than MIN_ROWS probes."""
    kids, seen = trace["kid"], trace.kimg
    known = np.isfinite(kids) & (seen > 0)
    if known.sum() < MIN_ROWS or kimg <= 0:
        return None
    logs, times = np.log(np.maximum(kids[known], 0) + FLOOR), np.log(seen[known])
    ahead = math.log(kimg) - float(times[-1])
    trend, unsteadiness = follow(logs, times)
    middle = float(logs[-LEVEL_ROWS:].mean()) + trend * (math.log(kimg) - float(times[-LEVEL_ROWS:].mean()))
    spread = (WIDTH + WIDTH_AHEAD * max(ahead, 0.0)) * math.hypot(NOISE, unsteadiness)
    kid, low, high = (max(0.0, math.exp(middle + shift) - FLOOR) for shift in (0.0, -spread, spread))
    return Forecast(kimg, kid, low, high)


def follow(logs: Series, times: Series) -> tuple[float, float]:
    """Slope of the later half of the curve, and the standard deviation around it.

    The slope is that of least squares, drawn toward PRIOR_SLOPE where it has few rows.
    """
    half = len(times) // 2
    x, y = times[half:] - times[half:].mean(), logs[half:] - logs[half:].mean()
    fitted = float(x @ y / (x @ x)) if x @ x > 0 else PRIOR_SLOPE
    residuals = y - fitted * x
    weight = len(x) / (len(x) + PRIOR_ROWS)
    slope = float(np.clip(weight * fitted + (1 - weight) * PRIOR_SLOPE, MIN_SLOPE, MAX_SLOPE))
    return slope, math.sqrt(float(residuals @ residuals) / max(1, len(x) - 2))
