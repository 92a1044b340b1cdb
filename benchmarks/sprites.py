"""Sprites drawn from a seed: transparent pictures, 64 pixels high and 32 wide, to train on images with alpha.

    python -m benchmarks.sprites sprites      draws 600 into sprites/, one sub-folder for each of the four classes
    make train SOURCE=sprites

Each is a few flat shapes, shaded with a ramp of four colours, with a dark outline and a soft shadow below.
"""

import argparse
import colorsys
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from serving.files import atomic_write

HEIGHT, WIDTH = 64, 32
GROUND = 58  # row on which everything stands
RAMP_STEPS = 4
SHADOW_ALPHA = 96

Pixels = NDArray[np.uint8]  # [HEIGHT, WIDTH, 4]
Mask = NDArray[np.bool_]  # [HEIGHT, WIDTH]
Point = tuple[float, float]  # column, row
Shape = tuple[Mask, float, float]  # pixels, hue and saturation


def main() -> None:
    """Draw the sprites."""
    parser = argparse.ArgumentParser(description="transparent sprites, drawn from a seed")
    parser.add_argument("folder", type=Path, help="with a sub-folder for each class; created if missing")
    parser.add_argument("--count", type=int, default=600, help="sprites in all classes together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write_sprites(options.folder, options.count, options.seed)
    print(f"drew {options.count} sprites of {HEIGHT}x{WIDTH} pixels into {options.folder}: {', '.join(KINDS)}")


def write_sprites(folder: Path, count: int, seed: int = 0) -> None:
    """Write sprites of all classes in turn, as PNG files in a sub-folder for each class."""
    for index, name in zip(range(count), cycle(KINDS)):
        with atomic_write(folder / name / f"{name}-{index:04d}.png") as path:
            Image.fromarray(draw_sprite(name, seed + index)).save(path, "png")


def draw_sprite(name: str, seed: int) -> Pixels:
    """Draw one sprite of a class; equal seeds give equal pixels."""
    sprite = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    for mask, hue, saturation in KINDS[name](np.random.RandomState(seed)):
        sprite[mask] = shade(mask, hue, saturation)[mask]
    return with_shadow(with_outline(sprite))


def potion(rng: np.random.RandomState) -> Iterator[Shape]:
    """A round bottle with a coloured liquid and a cork."""
    radius, neck = rng.randint(7, 12), rng.randint(2, 5)
    middle, hue = GROUND - radius, rng.rand()
    top = middle - radius - rng.randint(4, 12)
    glass = ellipse(16, middle, radius, radius) | box(16 - neck, top, 16 + neck, middle)
    yield glass, 0.55, 0.15
    level = middle + rng.randint(-radius // 2, radius // 2)
    yield ellipse(16, middle, radius - 2, radius - 2) & box(0, level, WIDTH, HEIGHT), hue, 0.85
    yield box(16 - neck, top - 4, 16 + neck, top), 0.08, 0.5


def sword(rng: np.random.RandomState) -> Iterator[Shape]:
    """A blade that points up, with a guard, a grip and a pommel."""
    blade, guard = rng.randint(2, 5), rng.randint(6, 12)
    tip, cross = rng.randint(4, 16), rng.randint(40, 46)
    steel = polygon((16 - blade, cross), (16 - blade, tip + 7), (16, tip), (16 + blade, tip + 7), (16 + blade, cross))
    hue = rng.rand()
    yield steel, 0.6, 0.1
    yield box(14, cross, 17, GROUND - 3), 0.07, 0.6
    yield box(16 - guard, cross, 16 + guard, cross + 3), hue, 0.7
    yield ellipse(16, GROUND - 3, 3, 3), hue, 0.7


def tree(rng: np.random.RandomState) -> Iterator[Shape]:
    """A trunk under three tiers of leaves, pointed or round."""
    hue, width, height = rng.uniform(0.2, 0.45), rng.randint(9, 14), rng.randint(9, 13)
    pointed = rng.rand() < 0.5
    yield box(14, GROUND - 14, 18, GROUND), 0.07, 0.6
    for tier in range(3):
        base, reach = GROUND - 10 - tier * height, width - 2 * tier
        if pointed:
            yield polygon((16 - reach, base), (16 + reach, base), (16, base - height - 5)), hue, 0.7
        else:
            yield ellipse(16, base - height // 2, reach, height // 2 + 3), hue, 0.7


def lantern(rng: np.random.RandomState) -> Iterator[Shape]:
    """A lamp with a glowing pane between a roof and a foot."""
    width, height = rng.randint(6, 11), rng.randint(14, 24)
    hue, glow = rng.rand(), rng.uniform(0.08, 0.17)
    top = GROUND - 4 - height
    yield box(16 - width, top, 16 + width, GROUND - 4), hue, 0.5
    yield box(18 - width, top + 2, 14 + width, GROUND - 6), glow, 0.9
    yield box(15 - width, GROUND - 4, 17 + width, GROUND), hue, 0.5
    yield polygon((14 - width, top), (18 + width, top), (16, top - rng.randint(7, 13))), hue, 0.6


KINDS: dict[str, Callable[[np.random.RandomState], Iterator[Shape]]] = {
    "potion": potion,
    "sword": sword,
    "tree": tree,
    "lantern": lantern,
}


def shade(mask: Mask, hue: float, saturation: float) -> Pixels:
    """Colour a shape with a ramp that is lit from the top left; shadows lean toward blue."""
    inside = np.nonzero(mask)
    depth = np.mean([(axis - axis.min()) / (np.ptp(axis) + 1) for axis in inside], axis=0)  # 0 at the light, below 1
    colours = [
        (*colorsys.hsv_to_rgb((hue + 0.03 * index) % 1, saturation, 0.95 - 0.17 * index), 1.0)
        for index in range(RAMP_STEPS)
    ]
    shaded = np.zeros((*mask.shape, 4), np.uint8)
    shaded[mask] = np.rint(np.array(colours) * 255).astype(np.uint8)[(depth * RAMP_STEPS).astype(int)]
    return shaded


def with_outline(sprite: Pixels) -> Pixels:
    """Surround what is drawn by dark pixels."""
    drawn = sprite[..., 3] > 0
    padded = np.pad(drawn, 1)
    near = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    sprite = sprite.copy()
    sprite[near & ~drawn] = (34, 26, 44, 255)
    return sprite


def with_shadow(sprite: Pixels) -> Pixels:
    """Put a soft, half transparent shadow on the ground below."""
    reach = max(4, int(np.ptp(np.nonzero(sprite[GROUND - 8 :, :, 3])[1])) // 2 + 2)
    sprite = sprite.copy()
    for grown, alpha in ((1, SHADOW_ALPHA // 2), (0, SHADOW_ALPHA)):
        shadow = ellipse(16, GROUND + 1, reach + grown, 2 + grown) & (sprite[..., 3] < 255)
        sprite[shadow] = (0, 0, 0, alpha)
    return sprite


def box(left: float, top: float, right: float, bottom: float) -> Mask:
    """Pixels of a rectangle, its right and bottom edges excluded."""
    return polygon((left, top), (right - 1, top), (right - 1, bottom - 1), (left, bottom - 1))


def ellipse(column: float, row: float, width: float, height: float) -> Mask:
    """Pixels of an ellipse around a point, with these half axes."""
    rows, columns = np.indices((HEIGHT, WIDTH))
    inside: Mask = ((columns + 0.5 - column) / width) ** 2 + ((rows + 0.5 - row) / height) ** 2 <= 1
    return inside


def polygon(*corners: Point) -> Mask:
    """Pixels of a polygon, its edges included."""
    canvas = Image.new("1", (WIDTH, HEIGHT))
    ImageDraw.Draw(canvas).polygon(corners, fill=1, outline=1)
    return np.asarray(canvas)


if __name__ == "__main__":
    main()
