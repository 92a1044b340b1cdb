"""Discriminator augmentation on the training device: DiffAugment, and ADA's adaptive probability.

Random numbers come from torch's global generator on the device of the images: no Python loop, no GPU sync.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor

from serving.inference.image_shape import RGBA

BATCHES_PER_UPDATE = 4  # of ADA's p
TRANSPARENT = -1.0  # every channel of a transparent pixel, as in the prepared data


class RandomNumbers(NamedTuple):
    """Random numbers of `augment`: [N] each, uniform in 0..1, in the order of use."""

    colour: Tensor  # the group is applied where this is below p; likewise translation and cutout
    brightness: Tensor
    saturation: Tensor
    contrast: Tensor
    translation: Tensor
    down: Tensor
    right: Tensor
    cutout: Tensor
    row: Tensor
    column: Tensor

    @classmethod
    def sample(cls, images: Tensor) -> Self:
        """Sample new numbers for images [N, C, H, W], on their device."""
        # float32 whatever the images are: bfloat16 would round numbers close to 1 up to 1.
        numbers = torch.rand(len(cls._fields), len(images), device=images.device, dtype=torch.float32)
        return cls(*numbers.unbind())


def augment(images: Tensor, p: float | Tensor, random: RandomNumbers | None = None) -> Tensor:
    """DiffAugment (Zhao et al. 2020): colour, translation and cutout, each applied to an image with probability p.

    p = 1 is the paper's; `AdaptiveP` makes it adaptive (Karras et al. 2020, section 3). Augment reals and fakes with
    the same p, in the discriminator's steps and the generator's, or the generator learns to imitate augmentations.

    images: [N, C, H, W] in [-1, 1], of any floating type, which is kept. p: 0..1, a number or a scalar on their device.
    random: sampled by default; equal numbers apply equal operations to other images. Returns [N, C, H, W]. Colours
    may leave [-1, 1] by design: clamping would cut gradients off. Twice differentiable.

    What translation and cutout leave empty is mid-grey as in the paper, and transparent in RGBA images.
    """
    if not isinstance(p, Tensor) and p == 0:
        return images
    u = random or RandomNumbers.sample(images)
    height, width = images.shape[2:]

    colours = jitter_colours(images, u.brightness - 0.5, u.saturation * 2, u.contrast + 0.5)
    images = torch.where(_broadcast(u.colour < p), colours, images)

    translated = u.translation < p
    # By up to an eighth of the side, a half rounded up as in the paper's code.
    down, right = (
        _to_integers(uniform, -limit, limit) * translated
        for uniform, limit in ((u.down, int(height / 8 + 0.5)), (u.right, int(width / 8 + 0.5)))
    )
    empty = TRANSPARENT if images.shape[1] == RGBA else 0.0
    images = translate(images, down, right, empty)

    row = _to_integers(u.row, 0, height)
    row = torch.where(u.cutout < p, row, -height)  # outside the image, where it cuts nothing
    return cut_out(images, row, _to_integers(u.column, 0, width), empty)


def jitter_colours(images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Add `brightness`, then scale colours about each pixel's grey, then values about each image's mean.

    images: [N, C, H, W]; the others [N]: a shift and two factors, 0 and 1 for no change. Saturation has no effect
    where C is 1, and alpha is left as it is. Returns [N, C, H, W].
    """
    if images.shape[1] == RGBA:
        colours = jitter_colours(images[:, :3], brightness, saturation, contrast)
        return torch.cat([colours, images[:, 3:]], dim=1)
    brightness, saturation, contrast = (
        _broadcast(change.to(images.dtype)) for change in (brightness, saturation, contrast)
    )
    images = images + brightness
    grey = images.mean(1, keepdim=True)  # [N, 1, H, W]
    images = grey + (images - grey) * saturation
    mean = images.mean((1, 2, 3), keepdim=True)  # [N, 1, 1, 1]
    return mean + (images - mean) * contrast


def translate(images: Tensor, down: Tensor, right: Tensor, empty: float = 0.0) -> Tensor:
    """Shift each image by whole pixels, padded with `empty`, which is 0 in the paper.

    images: [N, C, H, W]; down, right: int64 [N], of either sign. Returns [N, C, H, W].
    """
    return _shift(_shift(images, down, 2, empty), right, 3, empty)


def _shift(images: Tensor, by: Tensor, dim: int, empty: float) -> Tensor:
    """Shift each image by its own number of pixels along `dim`."""
    side = images.shape[dim]
    source = torch.arange(side, device=images.device) - by[:, None]  # [N, side]
    inside = (source >= 0) & (source < side)
    shape = (-1, 1, side, 1) if dim == 2 else (-1, 1, 1, side)
    # Pixels wrap around and are masked. Each pixel is read once, so its gradient is written once and is the same on
    # every run; and gather is twice differentiable, unlike grid_sample.
    rolled = images.gather(dim, source.remainder(side).view(shape).expand_as(images))
    return torch.where(inside.view(shape), rolled, empty)


def cut_out(images: Tensor, row: Tensor, column: Tensor, empty: float = 0.0) -> Tensor:
    """Set to `empty` a rectangle of half the height and width around (row, column), as far as it lies within the image.

    images: [N, C, H, W]; row, column: int64 [N], its centre, in pixels. Returns [N, C, H, W].
    """
    height, width = images.shape[2:]
    rows = _interval_mask(height, row - height // 4, height // 2).view(-1, 1, height, 1)
    columns = _interval_mask(width, column - width // 4, width // 2).view(-1, 1, 1, width)
    return torch.where(rows & columns, empty, images)


def _interval_mask(side: int, first: Tensor, length: int) -> Tensor:
    """Mask of the positions first..first+length-1 among 0..side-1: bool [N, side]."""
    position = torch.arange(side, device=first.device)
    return (position >= first[:, None]) & (position < first[:, None] + length)


def _broadcast(values: Tensor) -> Tensor:
    """[N] -> [N, 1, 1, 1], to broadcast over images."""
    return values.view(-1, 1, 1, 1)


def _to_integers(uniform: Tensor, low: int, high: int) -> Tensor:
    """Uniform numbers in 0..1, below 1, as uniform integers low..high, both included."""
    return low + (uniform * (high - low + 1)).long()


class AdaptiveP:
    """ADA's controller (Karras et al. 2020, section 3.2): raises p while the discriminator overfits, else lowers it.

    r_t = E[sign D(real)] is near 0 while D cannot tell reals from fakes and 1 when it recognises every real. Every
    four batches p moves towards the target r_t by the images seen over `kimg`: 500 kimg take it from 0 to 1.
    """

    def __init__(self, kimg: float = 500.0, target: float = 0.6) -> None:
        self.p = 0.0
        self._images_from_0_to_1 = kimg * 1000
        self._target = target
        self._signs: Tensor | float = 0.0  # a tensor between updates: reading it after every batch would sync the GPU
        self._images = 0
        self._batches = 0

    def update(self, real_logits: Tensor) -> None:
        """Count one batch of D(real), one logit per image in any shape; after every fourth, move p."""
        # In float32: bfloat16 cannot count past 256.
        self._signs = self._signs + real_logits.detach().sign().sum(dtype=torch.float32)
        self._images += real_logits.numel()
        self._batches += 1
        if self._batches == BATCHES_PER_UPDATE:
            self._move(float(self._signs) / self._images, self._images / self._images_from_0_to_1)
            self._signs, self._images, self._batches = 0.0, 0, 0

    def _move(self, r_t: float, step: float) -> None:
        direction = (r_t > self._target) - (r_t < self._target)
        self.p = min(max(self.p + direction * step, 0.0), 1.0)

    def state_dict(self) -> dict[str, float | int]:
        """State for an exact resume, as plain numbers."""
        return {"p": self.p, "signs": float(self._signs), "images": self._images, "batches": self._batches}

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        """Restore what `state_dict` returned."""
        self.p = float(state["p"])
        self._signs = float(state["signs"])
        self._images = int(state["images"])
        self._batches = int(state["batches"])
