"""Tiny trainers, and endless batches of noise for them to learn from."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from tests.training.project import tiny_params
from training.gan.projected_trainer import make_trainer
from training.gan.trainer import Batch, GANTrainer

TWO_TAGS = torch.tensor([[1.0, 1, 0], [0, 1, 1], [0, 0, 1]])  # three classes of one or two of three tags
FLOAT32 = "32-true"
BF16_MIXED = "bf16-mixed"


def tiny_gan(classes: int | Tensor = 3, precision: str = FLOAT32, **sections: dict[str, Any]) -> GANTrainer:
    """A trainer of tiny networks. classes: their number, 0 for none, or a table of their tags; sections: see `tiny`."""
    class_tags = torch.eye(classes) if isinstance(classes, int) else classes
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)  # type: ignore[arg-type]
    return make_trainer(tiny_params(**sections), class_tags if len(class_tags) else None, fabric)


class NoiseBatches(Iterator[Batch]):
    """Batches of noise that `gan` can learn from. Batch number `drawn` depends on that number alone, as in training."""

    def __init__(self, gan: GANTrainer, drawn: int = 0) -> None:
        self.drawn = drawn
        data = gan.params.data
        self._shape = (gan.batch_size, data.channels, *data.resolution)
        self._classes = max(gan.classes, 1)

    def __next__(self) -> Batch:
        generator = torch.Generator().manual_seed(self.drawn)
        self.drawn += 1
        images = torch.rand(self._shape, generator=generator) * 2 - 1
        return images, torch.randint(self._classes, self._shape[:1], generator=generator)


def train_steps(gan: GANTrainer, steps: int) -> list[dict[str, float]]:
    """Train for so many more steps. Returns the scalars of each."""
    batches = NoiseBatches(gan, drawn=gan.steps * gan.batches_per_step)
    return [{name: scalar.item() for name, scalar in gan.step(batches).items()} for _ in range(steps)]


@contextmanager
def recorded_inputs(network: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """While open, copies of the arguments of every forward pass of `network`, in order."""
    calls: list[tuple[Tensor, Tensor]] = []
    hook = network.register_forward_pre_hook(
        lambda _, inputs: calls.append(tuple(tensor.detach().clone() for tensor in inputs))  # type: ignore[arg-type]
    )
    try:
        yield calls
    finally:
        hook.remove()
