"""Seeds to latents: the numbers behind an image, the same for ever and everywhere."""

import threading

import numpy as np
from numpy.typing import NDArray

MAX_SEED = 2**32 - 1

Latents = NDArray[np.float32]
Labels = NDArray[np.int64]


class _PerThread(threading.local):
    """One stream a thread: seeding it again takes 4 microseconds, making a new one 270."""

    def __init__(self) -> None:
        self.stream = np.random.RandomState(0)


_per_thread = _PerThread()


def from_seeds(seeds: list[int], latent_dim: int, classes: int = 0) -> tuple[Latents, Labels]:
    """Draws one latent, and where there are classes one label, for each seed.

    seeds: each in 0 .. 2**32 - 1. Returns z float32 [N, latent_dim], standard normal, and labels
    int64 [N], all 0 when `classes` is 0. numpy keeps RandomState's streams frozen (NEP 19), so a
    seed gives the same latent on every host, in every process and at every place in a batch; a
    label comes after z from the same stream, so asking for a class leaves the latent as it was.
    """
    latents = np.empty((len(seeds), latent_dim), np.float32)
    labels = np.zeros(len(seeds), np.int64)
    stream = _per_thread.stream
    for row, seed in enumerate(seeds):
        stream.seed(seed)  # the very stream of RandomState(seed)
        latents[row] = stream.standard_normal(latent_dim)
        if classes:
            labels[row] = stream.randint(classes)
    return latents, labels


def truncate(latents: Latents, mean: Latents, truncation: float) -> Latents:
    """Moves latents toward the mean latent: less variety, fewer odd images.

    latents: [N, latent_dim]; mean: [latent_dim]; truncation: 1 leaves them, 0 gives the mean
    (the truncation trick in its linear form, Karras et al. 2019, section 3).
    """
    if truncation == 1:
        return latents
    return (mean + np.float32(truncation) * (latents - mean)).astype(np.float32)
