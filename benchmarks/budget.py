"""Equal budgets: so many seconds of one core, whatever else the machine does meanwhile."""

import time
from collections.abc import Iterator

from training.gan.trainer import Batch, GANTrainer


def train_for(gan: GANTrainer, batches: Iterator[Batch], cpu_seconds: float) -> None:
    """Trains until this process has computed for so long.

    Processor time, not the clock: two runs side by side, or a machine that is shared, do not shorten the
    budget. Meant for one thread (torch.set_num_threads(1)), as the time of all threads counts.
    """
    began = time.process_time()
    while time.process_time() - began < cpu_seconds:
        gan.step(batches)
