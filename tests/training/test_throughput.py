"""Speed of training, measured by real steps."""

import pytest

from tests.training.project import tiny_params
from training import throughput


@pytest.mark.parametrize("classes", [0, 3])
def test_the_speed_of_a_configuration_is_measured(monkeypatch: pytest.MonkeyPatch, classes: int) -> None:
    monkeypatch.setattr(throughput, "MAX_SECONDS", 0.0)
    assert throughput.images_per_second(tiny_params(), classes) > 0
