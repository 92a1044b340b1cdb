"""Discriminator augmentation on the training device: DiffAugment, and ADA's adaptive probability.

Every draw comes from torch's global stream, on the device of the images: no loop over them, no wait for a GPU.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor

BATCHES_PER_UPDATE = 4  # of ADA's p


class Draws(NamedTuple):
    """What `augment` draws for each image: [N] each, uniform in 0..1, in the order of use."""

    colour: Tensor  # the group is applied where this is under p; so with translation and cutout
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
    def fresh(cls, images: Tensor) -> Self:
        """New draws for each of the images [N, C, H, W], on their device."""
        # float32 whatever the images are: bfloat16 would round the last draws up to 1.
        numbers = torch.rand(len(cls._fields), len(images), device=images.device, dtype=torch.float32)
        return cls(*numbers.unbind())


def augment(images: Tensor, p: float | Tensor, draws: Draws | None = None) -> Tensor:
    """DiffAugment (Zhao et al. 2020): colour, translation and cutout, each applied to an image with probability p.

    p = 1 is the paper's; steered by `AdaptiveP` it is adaptive (Karras et al. 2020, section 3). Reals and fakes must
    both pass through with the same p, in the steps of both players, or the generator learns to imitate augmentations.

    images: [N, C, H, W] in [-1, 1], of any floating type, which is kept. p: 0..1, a number or a scalar on their device.
    draws: fresh ones by default; given, the same ones do the same to other images. Returns [N, C, H, W]. Colours
    may leave [-1, 1] by design: clamping would cut gradients off. Can be differentiated twice.
    """
    if not isinstance(p, Tensor) and p == 0:
        return images
    draw = draws or Draws.fresh(images)
    height, width = images.shape[2:]

    colours = jitter_colours(images, draw.brightness - 0.5, draw.saturation * 2, draw.contrast + 0.5)
    images = torch.where(_each(draw.colour < p), colours, images)

    moved = draw.translation < p
    # By up to an eighth of the side, a half rounded up as in the paper's code.
    down, right = (
        _pick(drawn, -limit, limit) * moved
        for drawn, limit in ((draw.down, int(height / 8 + 0.5)), (draw.right, int(width / 8 + 0.5)))
    )
    images = translate(images, down, right)

    row = _pick(draw.row, 0, height)
    row = torch.where(draw.cutout < p, row, -height)  # outside, where it cuts nothing
    return cut_out(images, row, _pick(draw.column, 0, width))


def jitter_colours(images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Adds `brightness`, then scales colours about each pixel's grey, then values about each image's mean.

    images: [N, C, H, W]; the others [N]: a shift and two factors, 0 and 1 for no change. Saturation changes nothing
    where C is 1. Returns [N, C, H, W].
    """
    brightness, saturation, contrast = (_each(change.to(images.dtype)) for change in (brightness, saturation, contrast))
    images = images + brightness
    grey = images.mean(1, keepdim=True)  # [N, 1, H, W]
    images = grey + (images - grey) * saturation
    mean = images.mean((1, 2, 3), keepdim=True)  # [N, 1, 1, 1]
    return mean + (images - mean) * contrast


def translate(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Moves each image by whole pixels; zeros enter, as in the paper.

    images: [N, C, H, W]; down, right: int64 [N], of either sign. Returns [N, C, H, W].
    """
    return _shift(_shift(images, down, dim=2), right, dim=3)


def _shift(images: Tensor, by: Tensor, dim: int) -> Tensor:
    """Moves each image by its own count of pixels along `dim`."""
    side = images.shape[dim]
    source = torch.arange(side, device=images.device) - by[:, None]  # [N, side]
    inside = (source >= 0) & (source < side)
    shape = (-1, 1, side, 1) if dim == 2 else (-1, 1, 1, side)
    # What leaves comes back on the other side and is masked there. Each pixel is read once, so that the gradient
    # is written once and is the same on every run; and gather can be differentiated twice, unlike grid_sample.
    rolled = images.gather(dim, source.remainder(side).view(shape).expand_as(images))
    return rolled * inside.view(shape)


def cut_out(images: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Sets a square of half the side to zero, around row and column, as far as it lies within the image.

    images: [N, C, H, W]; row, column: int64 [N], its centre, in pixels. Returns [N, C, H, W].
    """
    height, width = images.shape[2:]
    rows = _span(height, row - height // 4, height // 2).view(-1, 1, height, 1)
    columns = _span(width, column - width // 4, width // 2).view(-1, 1, 1, width)
    return images * ~(rows & columns)


def _span(side: int, first: Tensor, length: int) -> Tensor:
    """Where 0..side-1 lies in `length` places from `first` on: bool [N, side]."""
    place = torch.arange(side, device=first.device)
    return (place >= first[:, None]) & (place < first[:, None] + length)


def _each(values: Tensor) -> Tensor:
    """[N] as [N, 1, 1, 1], to meet images."""
    return values.view(-1, 1, 1, 1)


def _pick(draw: Tensor, low: int, high: int) -> Tensor:
    """Uniform draws in 0..1, below 1, as integers low..high, both included."""
    return low + (draw * (high - low + 1)).long()


class AdaptiveP:
    """ADA's controller (Karras et al. 2020, section 3.2): augment more when the discriminator overfits, else less.

    r_t = E[sign D(real)] is near 0 while D cannot tell and 1 when it knows every real. Each four batches p takes one
    step towards the r_t wanted, by the images seen over `kimg`: 500 kimg lead from 0 to 1.
    """

    def __init__(self, kimg: float = 500.0, target: float = 0.6) -> None:
        self.p = 0.0
        self._images_from_0_to_1 = kimg * 1000
        self._target = target
        self._signs: Tensor | float = 0.0  # a tensor between updates: reading it at every batch would wait for the GPU
        self._images = 0
        self._batches = 0

    def update(self, real_logits: Tensor) -> None:
        """Counts one batch of D(real), [N] or any shape with one logit an image; with every fourth, moves p."""
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
        """All that a resumed run needs to go on exactly, as plain numbers."""
        return {"p": self.p, "signs": float(self._signs), "images": self._images, "batches": self._batches}

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        """Takes up where `state` was recorded."""
        self.p = float(state["p"])
        self._signs = float(state["signs"])
        self._images = int(state["images"])
        self._batches = int(state["batches"])
