"""The prepared arrays, as batches on the training device."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from torch import Tensor

from serving.errors import MintError
from training import paths


@dataclass(frozen=True)
class TrainingData:
    """Images uint8 [N, C, H, W] and labels int64 [N], both where `images.device` says."""

    images: Tensor
    labels: Tensor
    device: torch.device  # where batches go

    def __len__(self) -> int:
        return len(self.images)

    def steps_per_epoch(self, batch: int) -> int:
        """Whole batches in one pass over the data."""
        return len(self) // batch

    def order(self, start: int, batch: int, seed: int) -> Iterator[Tensor]:
        """Yields, for step `start` and every later one, which images it sees: int64 [batch].

        Every epoch is a fresh permutation cut into whole batches. It follows from the seed and the
        epoch alone, so a resumed run sees what an unbroken one would have seen.
        """
        steps = self.steps_per_epoch(batch)
        for epoch in count(start // steps):
            stream = torch.Generator().manual_seed(seed + epoch)
            permutation = torch.randperm(len(self), generator=stream).to(self.images.device)
            for step in range(max(start - epoch * steps, 0), steps):
                yield permutation[step * batch : (step + 1) * batch]

    def batch(self, indices: Tensor, horizontal_flip: float) -> tuple[Tensor, Tensor]:
        """Real images float32 [batch, C, H, W] in [-1, 1] and labels int64 [batch], on `device`.

        horizontal_flip: the share of images that are mirrored, drawn from torch's global stream.
        """
        images = self.images[indices].to(self.device, non_blocking=True).float() / 127.5 - 1
        if horizontal_flip:
            mirrored = torch.rand(len(images), 1, 1, 1, device=self.device) < horizontal_flip
            images = torch.where(mirrored, images.flip(3), images)
        return images, self.labels[indices].to(self.device, non_blocking=True)


def load_training_data(device: torch.device, batch: int) -> TrainingData:
    """Maps the prepared arrays into memory, and moves them to a GPU that has room for them.

    Raises MintError when there are fewer images than one batch needs.
    """
    images = torch.from_numpy(np.load(paths.IMAGES, mmap_mode="c")).permute(0, 3, 1, 2)
    labels = torch.from_numpy(np.load(paths.LABELS))
    if len(images) < batch:
        raise MintError(
            f"there are {len(images)} training images and train.batch is {batch}; "
            f"lower train.batch to {len(images)} or less, or add images"
        )
    # Half of what is free, so that networks and activations keep the other half.
    if device.type == "cuda" and images.nbytes < torch.cuda.mem_get_info(device)[0] // 2:
        images, labels = images.to(device), labels.to(device)
    return TrainingData(images, labels, device)
