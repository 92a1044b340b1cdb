"""Two tiny players, and data that never ends for them to play with."""

from collections.abc import Iterator
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from tests.training.project import tiny_params
from training.gan.trainer import Batch, GANTrainer

TWO_TAGS = torch.tensor([[1.0, 1, 0], [0, 1, 1], [0, 0, 1]])  # three classes of one or two of three tags
ON_CPU = "32-true"
AS_ON_A_GPU = "bf16-mixed"


def tiny_gan(classes: int | Tensor = 3, arithmetic: str = ON_CPU, **sections: dict[str, Any]) -> GANTrainer:
    """A game of tiny players. classes: how many, 0 for none, or a table of their tags; sections: see `tiny`."""
    tags = torch.eye(classes) if isinstance(classes, int) else classes
    fabric = Fabric(accelerator="cpu", devices=1, precision=arithmetic)  # type: ignore[arg-type]
    return GANTrainer(tiny_params(**sections), tags if len(tags) else None, fabric)


class Batches(Iterator[Batch]):
    """Batches of noise that `gan` can learn from. Batch `drawn` follows from its number, as in training."""

    def __init__(self, gan: GANTrainer, drawn: int = 0) -> None:
        self.drawn = drawn
        self._shape = (gan.batch, gan.params.data.channels, *[gan.params.data.resolution] * 2)
        self._classes = max(gan.classes, 1)

    def __next__(self) -> Batch:
        stream = torch.Generator().manual_seed(self.drawn)
        self.drawn += 1
        images = torch.rand(self._shape, generator=stream) * 2 - 1
        return images, torch.randint(self._classes, self._shape[:1], generator=stream)


def play(gan: GANTrainer, steps: int) -> list[dict[str, float]]:
    """Plays so many more steps, each from a seed of its own as in training. Returns the scalars of each."""
    batches = Batches(gan, drawn=gan.steps * gan.batches_per_step)
    played = []
    for _ in range(steps):
        played.append({name: scalar.item() for name, scalar in gan.step(batches).items()})
    return played
