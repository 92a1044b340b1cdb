"""Training speed of a configuration on this machine, measured by a few real steps on random pictures."""

import time

import torch

from training.data.batches import TrainingData
from training.fabric import make_fabric
from training.gan.projected_trainer import make_trainer
from training.params import Params

WARM_UP_STEPS = 2  # slower: memory is allocated, kernels are chosen
MIN_STEPS = 3
MAX_SECONDS = 3.0  # a longer first step is the measurement; else steps after the warm-up are timed for so long


def images_per_second(params: Params, classes: int) -> float:
    """Measure how many images per second this configuration trains on, for data with this many classes.

    A large network takes a minute for a step on a CPU, and people wait for the plan: then the first one has to do.
    """
    fabric = make_fabric(params.train.device)
    images = torch.randint(
        0, 256, (2 * params.train.batch, params.data.channels, *params.data.resolution), dtype=torch.uint8
    )
    labels = torch.randint(0, max(classes, 1), (len(images),))
    data = TrainingData(images.to(fabric.device), labels.to(fabric.device), fabric.device)
    gan = make_trainer(params, torch.eye(classes) if classes else None, fabric)
    batches = data.batches(0, params.train)
    started = time.monotonic()
    gan.step(batches)
    _wait(fabric.device)
    if (first := time.monotonic() - started) > MAX_SECONDS:
        return gan.images_per_step / first
    for _ in range(WARM_UP_STEPS - 1):
        gan.step(batches)
    _wait(fabric.device)
    started, steps = time.monotonic(), 0
    while steps < MIN_STEPS or time.monotonic() - started < MAX_SECONDS:
        gan.step(batches)
        steps += 1
    _wait(fabric.device)
    return steps * gan.images_per_step / (time.monotonic() - started)


def _wait(device: torch.device) -> None:
    """Wait for a GPU to finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
