"""Survey of a data source before training: what `make train` needs to know of the pictures to choose their settings.

Looks at as many pictures as fit into a few seconds, in random order: sizes, colour, transparency, detail, duplicates.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data.decode import DRAFT_MARGIN, decode_upright
from training.data.manifest import DataError
from training.data.sources import Item, Source, UnreadableImageError
from training.data.sources.base import Pixels
from training.preprocess import parallel_map
from training.progress import track

MAX_EXAMINED = 5000  # pictures; all pairs of them are compared
MAX_SECONDS = 8.0

DETAIL_SIDES = (256, 128, 64, 32, 16)  # pixels, at which detail is looked for
LOST_DETAIL = 0.03  # share of the standard deviation that halving loses in a picture with detail, above
ROUNDING = 1.0  # that much, 0..255, which rounding and JPEG lose in any picture
COLOUR_RANGE, COLOUR_SHARE = 20, 0.01  # a picture has colour when R, G and B differ by more in this share of it
CLEAR_ALPHA, CLEAR_SHARE = 128, 0.02  # a picture is transparent when this share of it has less alpha
COLOUR_SIDE = 64  # pixels a side at which colour is measured
THUMBNAIL = 16  # pixels a side, for duplicates and mirroring
DUPLICATE_DISTANCE = 4.0  # root mean square difference of two thumbnails, 0..255
BLOCK = 512  # pictures compared with all others at once


@dataclass(frozen=True, slots=True)
class PictureStats:
    """Statistics of one picture."""

    width: int
    height: int
    coloured: bool
    transparent: bool
    detail: int  # largest of DETAIL_SIDES at which it has detail; 0 if none
    thumbnail: NDArray[np.float32]  # grey [THUMBNAIL, THUMBNAIL], 0..255


@dataclass(frozen=True)
class Survey:
    """Statistics of the pictures of a source."""

    pictures: int  # in the source, examined or not
    classes: dict[str, int]  # pictures by class, in label order; empty for unlabelled data
    stats: tuple[PictureStats, ...]  # of the readable ones among those examined
    unreadable: int  # among those examined

    @property
    def examined(self) -> int:
        """Number of pictures examined."""
        return len(self.stats) + self.unreadable

    @property
    def readable(self) -> int:
        """Number of readable pictures in the source, estimated unless all were examined."""
        return round(self.pictures * len(self.stats) / self.examined)

    @property
    def coloured(self) -> float:
        """Share of the pictures with colour, 0..1."""
        return float(np.mean([picture.coloured for picture in self.stats]))

    @property
    def transparent(self) -> float:
        """Share of the pictures with transparent parts, 0..1."""
        return float(np.mean([picture.transparent for picture in self.stats]))

    @property
    def width(self) -> int:
        """Median width in pixels."""
        return round(float(np.median([picture.width for picture in self.stats])))

    @property
    def height(self) -> int:
        """Median height in pixels."""
        return round(float(np.median([picture.height for picture in self.stats])))

    @property
    def aspect(self) -> float:
        """Median of width divided by height."""
        return float(np.median([picture.width / picture.height for picture in self.stats]))

    def cut_off(self, aspect: float) -> float:
        """Share of the median picture that a crop to this width divided by height cuts off, 0..1."""
        return 1 - min(self.aspect, aspect) / max(self.aspect, aspect)

    def blurred(self, side: int) -> float:
        """Share of the pictures that are at least `side` pixels large and have no detail at that size, 0..1."""
        needed = max(s for s in DETAIL_SIDES if s <= side)
        return float(
            np.mean([picture.detail < needed and side <= min(picture.width, picture.height) for picture in self.stats])
        )

    def shaped(self, aspect: float, tolerance: float) -> float:
        """Share of the pictures whose width is `aspect` times their height, within a factor of 1 + tolerance, 0..1."""
        ratios = np.array([picture.width / picture.height / aspect for picture in self.stats])
        return float(np.mean(np.maximum(ratios, 1 / ratios) <= 1 + tolerance))

    @cached_property
    def duplicates(self) -> int:
        """Number of examined pictures that look like one before them."""
        return count_duplicates([picture.thumbnail for picture in self.stats])

    @cached_property
    def sidedness(self) -> float:
        """How much left and right differ in the same way in every picture, 0..1; about 0 if mirroring changes nothing.

        The share of the energy of x - mirrored(x) that is in its mean: shoes that all point left have much of it there.
        """
        pictures = np.stack([picture.thumbnail for picture in self.stats])  # [N, T, T]
        difference = pictures - pictures[:, :, ::-1]
        energy = float(np.mean(difference**2))
        by_chance = 1 / len(pictures)  # of independent pictures without a side
        return max(0.0, float(np.mean(difference.mean(axis=0) ** 2)) / energy - by_chance) if energy else 0.0


def survey(source: Source, seconds: float = MAX_SECONDS) -> Survey:
    """Look at the pictures of a source for about this many seconds. Raises DataError if none can be read."""
    names = Counter(source.classes[item.label] for item in source.items if item.label is not None)
    stats: list[PictureStats] = []
    reasons: list[str] = []
    for picture in _until(time.monotonic() + seconds, source.items):
        if isinstance(picture, PictureStats):
            stats.append(picture)
        else:
            reasons.append(picture)
    if not stats:
        why = f" among its {len(source.items)} files ({reasons[0]})" if reasons else ""
        raise DataError(f"there is no readable picture{why}; put pictures in, or name another folder")
    classes = {name: names[name] for name in source.classes if names[name]}
    return Survey(len(source.items), classes, tuple(stats), len(reasons))


def _until(deadline: float, items: Sequence[Item]) -> Iterator[PictureStats | str]:
    """Yield the statistics of each item, or why it cannot be read, in random order until the time is up."""
    chosen = [items[index] for index in np.random.RandomState(0).permutation(len(items))[:MAX_EXAMINED]]
    for picture in track(parallel_map(examine, chosen), len(chosen), "looking at pictures"):
        yield picture
        if time.monotonic() > deadline:
            return


def examine(item: Item) -> PictureStats | str:
    """Statistics of one picture; the reason if it cannot be read."""
    try:
        image, (width, height) = decode_upright(item.read(), DETAIL_SIDES[0] // DRAFT_MARGIN)
        clear = _clear_share(image)
        colours = _over_white(image)
        small = np.asarray(colours.resize((COLOUR_SIDE,) * 2, Image.Resampling.BOX), np.int16)  # [H, W, 3]
        grey = colours.convert("L")
    except UnreadableImageError as error:
        return str(error)
    except (OSError, ValueError) as error:
        return f"its colours cannot be converted: {error}"
    return PictureStats(
        width,
        height,
        coloured=bool((np.ptp(small, axis=2) > COLOUR_RANGE).mean() > COLOUR_SHARE),
        transparent=clear > CLEAR_SHARE,
        detail=find_detail(grey),
        thumbnail=np.asarray(grey.resize((THUMBNAIL,) * 2, Image.Resampling.BOX), np.float32),
    )


def _clear_share(image: Image.Image) -> float:
    """Share of an image that is transparent, 0..1."""
    if not image.has_transparency_data:
        return 0.0
    return float((np.asarray(image.convert("RGBA").getchannel("A")) < CLEAR_ALPHA).mean())


def _over_white(image: Image.Image) -> Image.Image:
    """Composite an image over white, in RGB."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def find_detail(grey: Image.Image) -> int:
    """Return the largest of DETAIL_SIDES at which a picture has detail: halving its resolution there loses some.

    A blurred or enlarged picture has none at its own size. 0 for a picture of one colour.
    """
    for side in DETAIL_SIDES:
        if side > min(grey.size):
            continue
        square = grey.resize((side, side), Image.Resampling.BOX)
        halved = square.reduce(2).resize((side, side), Image.Resampling.BICUBIC)
        full = np.asarray(square, np.float32)
        lost = float(np.std(full - np.asarray(halved, np.float32)))
        if lost > max(LOST_DETAIL * float(np.std(full)), ROUNDING):
            return side
    return 0


def count_duplicates(thumbnails: Sequence[Pixels | NDArray[np.float32]]) -> int:
    """Count the thumbnails that are within DUPLICATE_DISTANCE of one before them."""
    flat = np.stack(thumbnails).reshape(len(thumbnails), -1).astype(np.float32)  # [N, T * T]
    squares = np.einsum("nd,nd->n", flat, flat)
    count = 0
    for start in range(0, len(flat), BLOCK):
        block = slice(start, start + BLOCK)
        distances = squares[block, None] + squares[None] - 2 * flat[block] @ flat.T  # [BLOCK, N], squared
        alike = distances < flat.shape[1] * DUPLICATE_DISTANCE**2
        rows = np.arange(len(alike))[:, None] + start
        count += int(np.any(alike & (np.arange(len(flat)) < rows), axis=1).sum())
    return count
