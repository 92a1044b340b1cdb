"""Pixels of two ways to the same picture."""

import numpy as np
from numpy.typing import ArrayLike


def assert_same_pixels(images: ArrayLike, others: ArrayLike) -> None:
    """Equal but for 1/255: where two batches, threads or processors add in another order, a pixel may round otherwise.

    images, others: uint8, of the same shape.
    """
    assert np.shape(images) == np.shape(others)
    assert np.abs(np.asarray(images, int) - np.asarray(others, int)).max(initial=0) <= 1
