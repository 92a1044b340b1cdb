"""Near-copies of training images among generated ones: shifted, mirrored, brighter or of another contrast, too."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, normalize, pad

from training.progress import track

COPY_TEST_IMAGES = 500  # generated; the standard error of a share of 5% is 1%
SHIFT_SIDE = 32  # pixels; images are downscaled to this side, shifted by whole pixels,
POOLED = 2  # and downscaled by this factor again, so that small changes stay small
SHIFTS = range(-2, 3)  # pixels, both ways: up to a sixteenth of the side
# Distance to the nearest image as a share of that to the next ones. Among 100 photographs of flowers at 64 px, 1.5% of
# 400 unseen ones are below it. Copies mirrored, blurred, brighter, darker or shifted are at most 0.46 in 99% of the
# cases with shifts twice as coarse as here, except for shifts by half a step.
COPY_RATIO = 0.45
NEXT_NEIGHBOURS = 50
MIN_TRAINING_IMAGES = 20  # with fewer, there are no neighbours to compare the nearest image with
BLOCK_IMAGES = 256  # compared with the training images at a time


def near_copies(
    images: NDArray[np.uint8], training: NDArray[np.uint8], exclude: NDArray[np.int64] | None = None
) -> NDArray[np.bool_]:
    """Which images are near-copies of a training image: [N].

    An image is one if its nearest training image is less than COPY_RATIO times as far away as the 50 next are on
    average: blurred or common images are near to many, a copy is near to its original only (after the adaptive
    threshold of Carlini et al. 2023, "Extracting Training Data from Diffusion Models"). The distance is sqrt(1 - r),
    with r the largest correlation of the pixels over mirroring and small shifts, which neither brightness nor contrast
    changes. Features of an ImageNet network separate copies less well: they change more when an image is shifted.

    images: [N, H, W, C]; training: [M, H, W, C], at least MIN_TRAINING_IMAGES. exclude: [N], one index to ignore for
    each image (its own, when the images are training images themselves).
    """
    originals = _standardised(avg_pool2d(_downscaled(training), POOLED))
    starts = range(0, len(images), BLOCK_IMAGES)
    found = []
    for start in track(starts, len(starts), f"looking for copies among {len(images)} images, part"):
        rows = slice(start, start + BLOCK_IMAGES)
        distances = _distances(_downscaled(images[rows]), originals)
        if exclude is not None:
            distances[torch.arange(len(distances)), torch.from_numpy(exclude[rows])] = torch.inf
        nearest = distances.topk(min(NEXT_NEIGHBOURS + 1, len(training) - 1), largest=False).values
        found.append(nearest[:, 0] < COPY_RATIO * nearest[:, 1:].mean(1))
    copies: NDArray[np.bool_] = torch.cat(found).numpy()
    return copies


def _distances(small: Tensor, originals: Tensor) -> Tensor:
    """Distances [N, M] of downscaled images [N, C, S, S] to originals [M, pixels], over all mirrorings and shifts."""
    side = small.shape[-1]
    margin = max(SHIFTS)
    correlation = torch.full((len(small), len(originals)), -1.0)
    for view in (small, small.flip(3)):
        padded = pad(view, (margin,) * 4, mode="replicate")
        for down in SHIFTS:
            for right in SHIFTS:
                top, left = margin + down, margin + right
                shifted = avg_pool2d(padded[:, :, top : top + side, left : left + side], POOLED)
                correlation = torch.maximum(correlation, _standardised(shifted) @ originals.T)
    return (1 - correlation).clamp_min(0).sqrt()


def _standardised(small: Tensor) -> Tensor:
    """[N, C, S, S] -> [N, pixels]: each channel without its mean, each image of norm 1; 0 for one without contrast."""
    return normalize((small - small.mean((2, 3), keepdim=True)).flatten(1))


def _downscaled(images: NDArray[np.uint8]) -> Tensor:
    """uint8 [N, H, W, C] -> float32 [N, C, S, S] with S = SHIFT_SIDE."""
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float()
    return interpolate(pixels, (SHIFT_SIDE, SHIFT_SIDE), mode="area")
