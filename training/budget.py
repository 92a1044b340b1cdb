"""Budget of a training run: its length in steps or in seconds."""

import math
from dataclasses import dataclass
from typing import Any

from training.param_sections import TrainParams


@dataclass(frozen=True)
class TrainingBudget:
    """Length of a run, in steps or in seconds of training."""

    steps: float  # infinite for a length in minutes
    seconds: float  # infinite for any other

    @classmethod
    def of(cls, train: TrainParams, images: int) -> "TrainingBudget":
        """Budget of `train.length`; epochs and kimg are rounded up to whole steps. images: of the training set."""
        length, images_per_step = train.length, train.batch * train.discriminator_steps
        images_per_epoch = images // train.batch * train.batch
        if length.unit == "minutes":
            return cls(math.inf, length.amount * 60)
        total = length.amount * (images_per_epoch if length.unit == "epochs" else 1000)
        return cls(math.ceil(total / images_per_step), math.inf)

    def progress(self, steps: int, seconds: float) -> float:
        """Fraction of the budget used, 0..1; exactly 1 at the end."""
        return min(1.0, max(steps / self.steps, seconds / self.seconds))

    def covers(self, state: dict[str, Any]) -> bool:
        """True if a checkpoint's state lies within the budget, so that a run can resume from it."""
        return bool(state["trainer"]["steps"] <= self.steps and state["seconds"] <= self.seconds)
