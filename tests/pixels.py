"""Comparison of images that were generated in two ways."""

import numpy as np
from numpy.typing import ArrayLike


def assert_same_pixels(images: ArrayLike, others: ArrayLike) -> None:
    """Assert equality within 1/255: batches, threads and CPUs add in different orders, which changes some roundings.

    images, others: uint8, of the same shape.
    """
    assert np.shape(images) == np.shape(others)
    assert np.abs(np.asarray(images, int) - np.asarray(others, int)).max(initial=0) <= 1
