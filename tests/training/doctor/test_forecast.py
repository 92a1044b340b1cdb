"""Forecasts of KID: on curves whose end is known."""

import math

import numpy as np
import pytest

from training.doctor.forecast import MIN_ROWS, forecast
from training.doctor.trace import Trace


def power_law(rows: int, exponent: float, noise: float = 0.0, seed: int = 0) -> Trace:
    """A KID of (kimg / 10) ** exponent, with noise as a standard deviation of its logarithm."""
    stream = np.random.RandomState(seed)
    kimg = 10.0 * np.arange(1, rows + 1)
    return Trace([{"kimg": x, "kid": (x / 10) ** exponent * math.exp(noise * stream.standard_normal())} for x in kimg])


def test_few_probes_give_no_forecast() -> None:
    assert forecast(power_law(MIN_ROWS - 1, -0.5), 200) is None
    assert forecast(power_law(MIN_ROWS, -0.5), 200) is not None
    assert forecast(Trace([{"kimg": float(x), "d_loss": 1.0} for x in range(20)]), 200) is None


@pytest.mark.parametrize("exponent", [-0.2, -0.5, -1.0])
def test_a_steady_fall_is_continued(exponent: float) -> None:
    expected = forecast(power_law(20, exponent), 400)
    assert expected is not None
    assert expected.low < 40**exponent < expected.high
    assert expected.low < expected.kid < expected.high


def test_the_interval_is_wider_the_further_ahead() -> None:
    near, far = (forecast(power_law(20, -0.5, 0.1), kimg) for kimg in (220, 800))
    assert near is not None
    assert far is not None
    assert far.high / far.low > near.high / near.low > 1


def test_a_kid_of_zero_or_below_has_a_forecast() -> None:
    trace = Trace([{"kimg": 10.0 * x, "kid": -0.001} for x in range(1, 12)])
    expected = forecast(trace, 200)
    assert expected is not None
    assert 0 <= expected.low <= expected.kid <= expected.high < 0.05
