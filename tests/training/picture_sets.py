"""Generated sets of pictures of each kind that `make train` tells apart, as files by name."""

import colorsys
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tests.training.project import encoded

Size = tuple[int, int]  # width, height


def photograph(seed: int, size: Size = (96, 96), grey: bool = False) -> Image.Image:
    """Noise whose amplitude falls with its frequency, as in photographs, in colours of its own."""
    rng = np.random.RandomState(seed)
    width, height = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    frequency[0, 0] = 1.0
    bands = [np.fft.ifft2(np.fft.fft2(rng.standard_normal((height, width))) / frequency).real for _ in range(3)]
    pixels = np.stack([128 + 45 * (band - band.mean()) / band.std() for band in bands], axis=2).clip(0, 255)
    image = Image.fromarray(pixels.astype(np.uint8))
    return image.convert("L") if grey else image


def drawing(seed: int, size: Size = (128, 128)) -> Image.Image:
    """Black lines on white, saved in RGB as scanners do."""
    rng = np.random.RandomState(seed)
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    for _ in range(8):
        pen.line([tuple(point) for point in rng.randint(0, size[0], (2, 2))], fill="black", width=2)
    return image


def sprite(seed: int, size: Size = (32, 48)) -> Image.Image:
    """A coloured shape with an outline on a transparent ground."""
    rng = np.random.RandomState(seed)
    image = Image.new("RGBA", size)
    colour = tuple(round(255 * part) for part in colorsys.hsv_to_rgb(rng.uniform(), 0.8, 0.9))
    left, top = rng.randint(2, 8, 2).tolist()
    ImageDraw.Draw(image).ellipse((left, top, size[0] - 4, size[1] - 4), fill=colour, outline=(20, 10, 30, 255))
    return image


def blurred(seed: int, size: Size = (96, 96)) -> Image.Image:
    """A photograph out of focus."""
    return photograph(seed, size).filter(ImageFilter.GaussianBlur(6))


def pictures(draw: Callable[[int], Image.Image], count: int, kind: str = "PNG") -> dict[str, bytes]:
    """Files of the pictures of seeds 0, 1, 2, ..."""
    return {f"{seed:04d}.{kind.lower()}": encoded(draw(seed), kind) for seed in range(count)}
