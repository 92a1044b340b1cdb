"""Seeds to latents: the numbers behind an image, the same for ever and everywhere."""

import threading
from typing import Literal

import numpy as np
from numpy.typing import NDArray

MAX_SEED = 2**32 - 1

Latents = NDArray[np.float32]
Labels = NDArray[np.int64]
Curve = Literal["slerp", "lerp"]


class _PerThread(threading.local):
    """One stream a thread, and the 32-bit words that it is made of: to seed it again is quicker than to make one."""

    def __init__(self) -> None:
        self.words = np.random.MT19937(0)
        self.stream = np.random.RandomState(self.words)


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
    stream, words = _per_thread.stream, _per_thread.words
    low_bits = (1 << (classes - 1).bit_length()) - 1
    for row, seed in enumerate(seeds):
        stream.seed(seed)  # the very stream of RandomState(seed)
        latents[row] = stream.standard_normal(latent_dim)
        if classes:
            # What stream.randint(classes) does, in a fraction of its time: words' low bits, until they are a class.
            while (label := words.random_raw() & low_bits) >= classes:
                pass
            labels[row] = label
    return latents, labels


def truncate(latents: Latents, mean: Latents, truncation: float) -> Latents:
    """Moves latents toward the mean latent: less variety, fewer odd images.

    latents: [N, latent_dim]; mean: [latent_dim]; truncation: 1 leaves them, 0 gives the mean
    (the truncation trick in its linear form, Karras et al. 2019, section 3).
    """
    if truncation == 1:
        return latents
    return (mean + np.float32(truncation) * (latents - mean)).astype(np.float32)


def frames_between(stops: Latents, steps: int, curve: Curve = "slerp", loop: bool = False) -> tuple[Latents, Labels]:
    """Latents on the way from stop to stop, `steps` for each leg.

    stops: [S, latent_dim], at least two. loop: the last leg leads back to the first stop. Returns the frames
    [F, latent_dim] and for each the index int64 [F] of the nearer stop; F = steps (S - 1) + 1, or steps S in
    a loop, which does not show its first frame twice.
    """
    between = slerp if curve == "slerp" else lerp
    legs = len(stops) if loop else len(stops) - 1
    shares = np.arange(steps, dtype=np.float32) / np.float32(steps)
    frames = [between(stops[leg], stops[(leg + 1) % len(stops)], share) for leg in range(legs) for share in shares]
    nearest = [(leg + (2 * step >= steps)) % len(stops) for leg in range(legs) for step in range(steps)]
    if not loop:
        frames.append(stops[-1])
        nearest.append(len(stops) - 1)
    return np.stack(frames), np.array(nearest, np.int64)


def lerp(start: Latents, end: Latents, share: float) -> Latents:
    """The point on the straight line from `start` to `end`, both [latent_dim]."""
    return ((1 - share) * start + share * end).astype(np.float32)


def slerp(start: Latents, end: Latents, share: float) -> Latents:
    """The point on the arc from `start` to `end`, both [latent_dim] (White 2016, "Sampling Generative Networks").

    Nearly all of a Gaussian lies on a shell; a straight line would cut through its empty middle, where the network has
    not been trained. Where there is no one arc, between parallel or opposite vectors or at zero, the line is taken.
    """
    lengths = float(np.linalg.norm(start) * np.linalg.norm(end))
    angle = np.arccos(np.clip(float(start @ end) / lengths, -1.0, 1.0)) if lengths else 0.0
    if np.sin(angle) < 1e-4:
        return lerp(start, end, share)
    point = (np.sin((1 - share) * angle) * start + np.sin(share * angle) * end) / np.sin(angle)
    return np.asarray(point, np.float32)
