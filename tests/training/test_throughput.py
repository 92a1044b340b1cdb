"""Speed of training, measured by real steps."""

from collections.abc import Iterator
from itertools import count
from types import SimpleNamespace

import pytest
from torch import Tensor

from tests.training.project import tiny_params
from training import throughput
from training.gan.trainer import Batch, GANTrainer


def test_the_speed_of_a_configuration_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    half_seconds = count(step=0.5)  # a clock that no processor changes
    monkeypatch.setattr(throughput, "time", SimpleNamespace(monotonic=lambda: next(half_seconds)))
    steps = counted_steps(monkeypatch)
    assert throughput.images_per_second(tiny_params(), 0) > 0
    assert len(steps) >= throughput.WARM_UP_STEPS + throughput.MIN_STEPS


def test_a_slow_configuration_is_measured_by_its_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of flowers-64 takes over a minute: 128 images at 1.7 a second on two cores."""
    monkeypatch.setattr(throughput, "MAX_SECONDS", 0.0)
    steps = counted_steps(monkeypatch)
    assert throughput.images_per_second(tiny_params(), 3) > 0
    assert len(steps) == 1


def counted_steps(monkeypatch: pytest.MonkeyPatch) -> list[GANTrainer]:
    """A list that gets an entry with every training step from now on."""
    steps: list[GANTrainer] = []
    train_step = GANTrainer.step

    def counted(gan: GANTrainer, batches: Iterator[Batch]) -> dict[str, Tensor]:
        steps.append(gan)
        return train_step(gan, batches)

    monkeypatch.setattr(GANTrainer, "step", counted)
    return steps
