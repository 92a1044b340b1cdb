"""Near-copies of training images: found whatever small change was made, and not found among unseen images."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from training.evaluation.memorisation import near_copies

SIDE = 64


def drawings(count: int, first: int = 0) -> NDArray[np.uint8]:
    """Different pictures [N, 64, 64, 3]: overlapping ellipses of any colours on a background of any colour."""
    pictures = []
    for number in range(first, first + count):
        stream = np.random.RandomState(number)
        picture = Image.new("RGB", (SIDE, SIDE), tuple(stream.randint(0, 200, 3)))
        draw = ImageDraw.Draw(picture)
        for _ in range(6):
            x, y = stream.randint(0, SIDE - 8, 2)
            width, height = stream.randint(8, 40, 2)
            draw.ellipse((x, y, x + width, y + height), fill=tuple(stream.randint(0, 200, 3)))
        pictures.append(np.asarray(picture))
    return np.stack(pictures)


def shifted(images: NDArray[np.uint8], down: int, right: int) -> NDArray[np.uint8]:
    margin = 4
    padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="edge")
    return padded[:, margin + down :, margin + right :][:, :SIDE, :SIDE]


@pytest.mark.parametrize("count", [100, 300])
@pytest.mark.parametrize(
    "change",
    [
        lambda images: images,
        lambda images: images[:, :, ::-1],
        lambda images: shifted(images, 1, -1),
        lambda images: shifted(images, -2, 3),
        lambda images: shifted(images[:, :, ::-1], 4, 4),
        lambda images: (images * 0.8).astype(np.uint8),
        lambda images: images + np.uint8(40),
    ],
    ids=["equal", "mirrored", "shifted by 1", "shifted by 3", "mirrored and shifted by 4", "darker", "brighter"],
)
def test_copies_are_found_among_few_training_images_and_nothing_else(count: int, change: object) -> None:
    training = drawings(count)
    assert callable(change)
    assert near_copies(change(training[:40]), training).mean() > 0.9
    assert near_copies(change(drawings(60, first=1000)), training).mean() < 0.05


def test_blurred_and_averaged_images_are_no_copies_though_they_are_near_to_many_images() -> None:
    training = drawings(100)
    averages = training.reshape(20, 5, SIDE, SIDE, 3).mean(1).astype(np.uint8)
    assert near_copies(averages, training).mean() < 0.05
    assert near_copies(np.full((5, SIDE, SIDE, 3), 90, np.uint8), training).mean() == 0


def test_copies_are_found_when_the_training_images_are_twice_in_the_data() -> None:
    training = drawings(50).repeat(2, axis=0)
    assert near_copies(training[:20], training).mean() > 0.9


def test_a_training_image_is_not_its_own_copy_when_excluded() -> None:
    training = drawings(60)
    assert near_copies(training, training).all()
    assert near_copies(training, training, exclude=np.arange(60)).mean() < 0.05


def test_rectangles_and_grey_images_are_compared_too() -> None:
    grey = drawings(40)[:, :32, :, :1]
    assert near_copies(grey[:, :, ::-1], grey).mean() > 0.9
