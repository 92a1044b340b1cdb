"""Training batches from the prepared arrays: deterministic shuffling, flips and rotations, on the training device."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from serving.errors import MintError
from serving.inference.image_shape import RGBA
from training.data.manifest import Manifest, read_arrays
from training.param_sections import TrainParams
from training.params import Params

SHUFFLE_STREAM = 1  # domain separator between the shuffle RNG and the step RNG, which share the seed
# Images that no network is trained on, so that the probes can tell an overfitted discriminator: a fiftieth, at most
# MAX_HELD_OUT, none where MIN_HELD_OUT would be too many.
HELD_OUT_SHARE = 0.02
MIN_HELD_OUT, MAX_HELD_OUT = 16, 256
MIN_IMAGES_TO_HOLD_OUT = 200


def derive_seed(*numbers: int) -> int:
    """Derive a seed for a torch generator from several numbers.

    Hashed by numpy, so that neighbouring numbers give unrelated streams; torch's CPU generator keeps only 32 bits.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


@dataclass(frozen=True)
class TrainingData:
    """Prepared images uint8 [N, C, H, W] and labels int64 [N] on one device, of which a few are not trained on.

    held_out: int64 [H], their positions; none by default. The length is the number of training images.
    """

    images: Tensor
    labels: Tensor
    device: torch.device  # of the batches
    held_out: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.images) - len(self.held_out)

    @cached_property
    def members(self) -> Tensor:
        """Positions of the training images in `images`, int64 [N - H], on the device of `images`."""
        trained_on = torch.ones(len(self.images), dtype=torch.bool)
        trained_on[self.held_out] = False
        return trained_on.nonzero().flatten().to(self.images.device)

    def images_per_epoch(self, batch_size: int) -> int:
        """Number of images in one epoch; the last incomplete batch is dropped."""
        return len(self) // batch_size * batch_size

    def batches(self, start: int, params: TrainParams) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield augmented batches endlessly, from batch number `start` on."""
        for indices in self.batch_indices(start, params.batch, params.seed):
            yield self.batch(indices, params.horizontal_flip, params.rotation)

    def batch_indices(self, start: int, batch_size: int, seed: int) -> Iterator[Tensor]:
        """Yield the image indices, int64 [batch_size], of the batches from number `start` on, endlessly.

        Each epoch is a permutation that depends on the seed and the epoch alone, so a resumed run sees the same batches
        as an uninterrupted one.
        """
        batches = len(self) // batch_size
        for epoch in count(start // batches):
            rng = torch.Generator().manual_seed(derive_seed(seed, epoch, SHUFFLE_STREAM))
            permutation = self.members[torch.randperm(len(self), generator=rng).to(self.images.device)]
            for position in range(max(start - epoch * batches, 0), batches):
                yield permutation[position * batch_size : (position + 1) * batch_size]

    def batch(self, indices: Tensor, horizontal_flip: float, rotation: float) -> tuple[Tensor, Tensor]:
        """Return real images float32 [B, C, H, W] in [-1, 1] and labels int64 [B], on `device`.

        indices: int64 [B]. horizontal_flip: probability of mirroring an image. rotation: largest angle in degrees. Both
        use torch's global RNG.
        """
        images = self.images[indices].to(self.device).float() / 127.5 - 1
        if horizontal_flip:
            mirrored = torch.rand(len(images), 1, 1, 1, device=self.device) < horizontal_flip
            images = torch.where(mirrored, images.flip(3), images)
        images = rotate(images, rotation)
        return images, self.labels[indices].to(self.device)


def held_out_positions(images: int) -> Tensor:
    """Positions of the images that are not trained on, int64 [H], sorted: the same for every run on the same data."""
    if images < MIN_IMAGES_TO_HOLD_OUT:
        return torch.zeros(0, dtype=torch.int64)
    count = min(max(int(images * HELD_OUT_SHARE), MIN_HELD_OUT), MAX_HELD_OUT)
    rng = torch.Generator().manual_seed(derive_seed(images))
    return torch.randperm(images, generator=rng)[:count].sort().values


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
    if images.shape[1] == RGBA:
        return unpremultiply(_sample(premultiply(images), source))
    return _sample(images, source)


def _sample(images: Tensor, source: Tensor) -> Tensor:
    """Images [N, C, H, W] sampled at the positions `source` [N, H, W, 2], x and y in -1..1."""
    # Reflection padding: the generator would learn to draw black corners.
    return grid_sample(images, source.to(images.dtype), "bilinear", "reflection", align_corners=False)


def premultiply(images: Tensor) -> Tensor:
    """Scale the colours of RGBA images [N, 4, H, W] in [-1, 1] by alpha, so that averages weigh what can be seen."""
    colours, alpha = images[:, :3], images[:, 3:]
    return torch.cat([(colours + 1) * (alpha + 1) / 2 - 1, alpha], dim=1)


def unpremultiply(images: Tensor) -> Tensor:
    """Undo `premultiply`; what is fully transparent is black."""
    colours, alpha = images[:, :3], images[:, 3:]
    return torch.cat([((colours + 1) * 2 / (alpha + 1).clamp(min=1e-6)).clamp(max=2) - 1, alpha], dim=1)


def class_tag_matrix(params: Params, manifest: Manifest) -> Tensor | None:
    """Return the tags of each class, 0 or 1, float32 [classes, tags]; None for unconditional training.

    Raises MintError when objective.mismatched is set and the data has fewer than two classes.
    """
    if params.objective.mismatched and len(manifest.classes) < 2:
        has = "one" if manifest.classes else "none"
        raise MintError(f"params.yaml: objective.mismatched needs two classes and the data has {has}; set it to false")
    if params.network.condition == "none" or not manifest.classes:
        return None
    return torch.from_numpy(manifest.tag_matrix)


def load_training_data(manifest: Manifest, device: torch.device, batch_size: int) -> TrainingData:
    """Memory-map the prepared arrays, or move them to a GPU that has room.

    Raises MintError when they are damaged or hold fewer training images than one batch.
    """
    image_array, label_array = read_arrays(manifest)
    images, labels = torch.from_numpy(image_array).permute(0, 3, 1, 2), torch.from_numpy(label_array)
    held_out = held_out_positions(len(images))
    count = len(images) - len(held_out)
    if count == 1:
        raise MintError("there is one training image, and a batch needs at least two; add images")
    if count < batch_size:
        raise MintError(
            f"there are {count} training images and train.batch is {batch_size}; "
            f"lower train.batch to {count} or less, or add images"
        )
    # At most half of the free memory: the rest is for networks and activations.
    if device.type == "cuda" and images.nbytes < torch.cuda.mem_get_info(device)[0] // 2:
        images, labels = images.to(device), labels.to(device)
    return TrainingData(images, labels, device, held_out)
