"""Traces: what they hold, and that nothing later than a moment changes what is known at it."""

import numpy as np
import pytest

from training.doctor.trace import Trace, best_so_far, running, streak


def test_missing_measurements_are_nan() -> None:
    trace = Trace([{"kimg": 1.0, "kid": 0.5}, {"kimg": 2.0}])
    np.testing.assert_array_equal(trace["kid"], [0.5, np.nan])
    np.testing.assert_array_equal(trace["nothing"], [np.nan, np.nan])
    assert trace.has("kid")
    assert not trace.has("nothing")
    assert len(trace.until(1)) == 1


@pytest.mark.parametrize("reduce", ["mean", "median", "min", "max"])
def test_a_running_value_uses_the_past_alone(reduce: str) -> None:
    values = np.random.RandomState(0).rand(20)
    values[[3, 4, 5]] = np.nan
    for end in range(1, 21):
        np.testing.assert_array_equal(running(values, 3, reduce)[:end], running(values[:end], 3, reduce))


def test_a_running_mean_leaves_out_what_is_missing() -> None:
    np.testing.assert_array_equal(running(np.array([np.nan, 1, np.nan, 3]), 2), [np.nan, 1, 1, 3])


def test_the_best_so_far_is_the_lowest_value() -> None:
    np.testing.assert_array_equal(best_so_far(np.array([np.nan, 3.0, 5, 2, np.nan])), [np.nan, 3, 3, 2, 2])


def test_a_streak_counts_from_the_end() -> None:
    assert [streak(np.array(values, bool)) for values in ([], [0], [1], [1, 0, 1, 1], [1, 1])] == [0, 0, 1, 2, 2]
