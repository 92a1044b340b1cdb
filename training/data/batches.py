"""The prepared arrays, as batches on the training device."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from serving.errors import MintError
from training.data.manifest import Manifest, read_arrays
from training.param_sections import TrainParams
from training.params import Params

ORDER = 1  # tells the stream of an epoch's order from that of the step of the same number


def derive_seed(*numbers: int) -> int:
    """A seed for one of torch's generators, another one for each list of numbers.

    Mixed by numpy, because neighbouring seeds must not share streams, and torch's CPU generator keeps only 32 bits.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


@dataclass(frozen=True)
class TrainingData:
    """Images uint8 [N, C, H, W] and labels int64 [N], both where `images.device` says."""

    images: Tensor
    labels: Tensor
    device: torch.device  # where batches go

    def __len__(self) -> int:
        return len(self.images)

    def images_per_epoch(self, batch: int) -> int:
        """The images of the whole batches in one pass over the data."""
        return len(self) // batch * batch

    def batches(self, start: int, params: TrainParams) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields batch `start` and every later one, see `order` and `batch`."""
        for indices in self.order(start, params.batch, params.seed):
            yield self.batch(indices, params.horizontal_flip, params.rotation)

    def order(self, start: int, batch: int, seed: int) -> Iterator[Tensor]:
        """Yields, for batch `start` and every later one, which images it holds: int64 [batch].

        Every epoch is a fresh permutation cut into whole batches. It follows from the seed and the
        epoch alone, so a resumed run sees what an unbroken one would have seen.
        """
        batches = len(self) // batch
        for epoch in count(start // batches):
            stream = torch.Generator().manual_seed(derive_seed(seed, epoch, ORDER))
            permutation = torch.randperm(len(self), generator=stream).to(self.images.device)
            for position in range(max(start - epoch * batches, 0), batches):
                yield permutation[position * batch : (position + 1) * batch]

    def batch(self, indices: Tensor, horizontal_flip: float, rotation: float) -> tuple[Tensor, Tensor]:
        """Real images float32 [batch, C, H, W] in [-1, 1] and labels int64 [batch], on `device`.

        horizontal_flip: the share of images that are mirrored. rotation: they are turned by up to so many degrees.
        Both are drawn from torch's global stream.
        """
        images = self.images[indices].to(self.device).float() / 127.5 - 1
        if horizontal_flip:
            mirrored = torch.rand(len(images), 1, 1, 1, device=self.device) < horizontal_flip
            images = torch.where(mirrored, images.flip(3), images)
        images = rotate(images, rotation)
        return images, self.labels[indices].to(self.device)


def rotate(images: Tensor, degrees: float) -> Tensor:
    """Rotate each image by its own angle, uniform in -degrees..degrees, with bilinear interpolation.

    images: [N, C, H, W]. Returns the same shape and range; with 0 degrees, the images themselves.
    """
    if degrees == 0:
        return images
    height, width = images.shape[2:]
    angle = math.radians(degrees) * (2 * torch.rand(len(images), 1, 1, device=images.device) - 1)
    cos, sin = angle.cos(), angle.sin()
    # Not affine_grid: its matrix product would round positions to bfloat16 under autocast.
    x = torch.arange(width, device=images.device) - (width - 1) / 2  # [W], pixels from the centre
    y = (torch.arange(height, device=images.device) - (height - 1) / 2)[:, None]  # [H, 1]
    source = torch.stack(((cos * x - sin * y) * 2 / width, (sin * x + cos * y) * 2 / height), dim=-1)  # [N, H, W, 2]
    # Reflection, as black corners would teach the generator to paint corners.
    return grid_sample(images, source.to(images.dtype), "bilinear", "reflection", align_corners=False)


def class_tag_matrix(params: Params, manifest: Manifest) -> Tensor | None:
    """Which class has which tag, float [classes, tags]; None where the networks are to know of no classes."""
    if params.objective.mismatched and len(manifest.classes) < 2:
        has = "one" if manifest.classes else "none"
        raise MintError(f"params.yaml: objective.mismatched needs two classes and the data has {has}; set it to false")
    if params.network.condition == "none" or not manifest.classes:
        return None
    return torch.from_numpy(manifest.tag_matrix)


def load_training_data(manifest: Manifest, device: torch.device, batch: int) -> TrainingData:
    """Maps the prepared arrays into memory, and moves them to a GPU that has room for them.

    Raises MintError when they are damaged, or fewer images than one batch needs.
    """
    pixels, classes = read_arrays(manifest)
    images, labels = torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(classes)
    if len(images) == 1:
        raise MintError("there is one training image, and a batch needs at least two; add images")
    if len(images) < batch:
        raise MintError(
            f"there are {len(images)} training images and train.batch is {batch}; "
            f"lower train.batch to {len(images)} or less, or add images"
        )
    # Half of what is free, so that networks and activations keep the other half.
    if device.type == "cuda" and images.nbytes < torch.cuda.mem_get_info(device)[0] // 2:
        images, labels = images.to(device), labels.to(device)
    return TrainingData(images, labels, device)
