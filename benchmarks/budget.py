"""Training with a budget of CPU seconds, so that other load on the machine does not shorten a run."""

import time
from collections.abc import Iterator

from training.gan.trainer import Batch, GANTrainer


def train_for(gan: GANTrainer, batches: Iterator[Batch], cpu_seconds: float) -> None:
    """Train until this process has used so many seconds of CPU time.

    The time of all its threads counts, so runs compare only with one thread (torch.set_num_threads(1)).
    """
    began = time.process_time()
    while time.process_time() - began < cpu_seconds:
        gan.step(batches)
