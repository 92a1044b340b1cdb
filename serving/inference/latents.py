"""Network inputs: latents and labels from seeds, truncation, interpolation. A seed has the same latent everywhere."""

import threading
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from serving.errors import InputError

MAX_IMAGES = 1024  # in one request, whatever the settings
MAX_SEED = 2**32 - 1

Latents = NDArray[np.float32]
Labels = NDArray[np.int64]
Images = NDArray[np.uint8]
Curve = Literal["slerp", "lerp"]


class BatchInputs(Protocol):
    """The inputs of a batch, computed row range by row range: stored, or drawn from seeds on demand."""

    def __len__(self) -> int:
        """Number of images."""

    def arrays(self, rows: slice) -> "ArrayInputs":
        """The network's inputs for these rows. Pure: equal rows give equal arrays, and nothing is stored."""


@dataclass(frozen=True)
class ArrayInputs:
    """Arrays that the network reads: latents [N, latent_dim], truncated; labels [N], or None without classes."""

    latents: Latents
    labels: Labels | None

    def __len__(self) -> int:
        return len(self.latents)

    def arrays(self, rows: slice) -> "ArrayInputs":
        """Slice the arrays."""
        return ArrayInputs(self.latents[rows], None if self.labels is None else self.labels[rows])


@dataclass(frozen=True, eq=False)
class LatentSpace:
    """The input space of one model."""

    dim: int
    classes: int  # 0 for a model without classes
    mean: Latents  # [dim], the target of truncation

    def sample(self, seeds: list[int], labels: Labels | None = None) -> tuple[Latents, Labels | None]:
        """Latents float32 [N, dim], before truncation, and labels int64 [N] of these seeds.

        labels: int64 [N]; None: a conditional model draws each from its seed. The labels returned are None for a
        model without classes. Raises InputError for a seed out of range.
        """
        for position, seed in enumerate(seeds):
            if not 0 <= seed <= MAX_SEED:
                raise InputError(
                    f"seed {str(seed)[:20]} is out of range; seeds are whole numbers from 0 to {MAX_SEED}",
                    "seeds",
                    position,
                )
        if labels is None and self.classes:
            return from_seeds(seeds, self.dim, self.classes)
        return from_seeds(seeds, self.dim)[0], labels

    def truncate(self, latents: Latents, truncation: float) -> Latents:
        """Move latents [N, dim] toward the model's mean latent; 1 leaves them as they are."""
        return truncate(latents, self.mean, truncation)


@dataclass(frozen=True, eq=False)
class GenerationJob:
    """The images to generate: from seeds, or from latents, with labels and truncation.

    Seeds become latents when a run asks for their rows, so that the first rows run while the next are drawn.
    """

    space: LatentSpace
    labels: Labels | None  # [N]; None: each seed draws its own, or the model has no classes
    truncation: float = 1.0
    seeds: list[int] | None = None  # N seeds, or
    latents: Latents | None = None  # [N, latent_dim], before truncation

    def __len__(self) -> int:
        return len(self.seeds or ()) if self.latents is None else len(self.latents)

    def arrays(self, rows: slice) -> ArrayInputs:
        """The network's inputs for these rows, truncated."""
        latents, labels = self.sample(rows)
        return ArrayInputs(self.space.truncate(latents, self.truncation), labels)

    def sample(self, rows: slice) -> tuple[Latents, Labels | None]:
        """Latents [n, latent_dim] before truncation, and labels [n], of these rows."""
        labels = None if self.labels is None else self.labels[rows]
        if self.latents is not None:
            return self.latents[rows], labels
        assert self.seeds is not None
        return self.space.sample(self.seeds[rows], labels)


class _ThreadStream(threading.local):
    """One random stream a thread, with its bit generator: seeding it again is quicker than creating one."""

    def __init__(self) -> None:
        self.bits = np.random.MT19937(0)
        self.stream = np.random.RandomState(self.bits)


_thread_stream = _ThreadStream()


def from_seeds(seeds: list[int], latent_dim: int, classes: int = 0) -> tuple[Latents, Labels]:
    """Draw one latent, and where there are classes one label, for each seed.

    seeds: each in 0 .. 2**32 - 1. Returns z float32 [N, latent_dim], standard normal, and labels
    int64 [N], all 0 when `classes` is 0. numpy keeps RandomState's streams frozen (NEP 19), so a
    seed gives the same latent on every host, in every process and at every place in a batch; a
    label comes after z from the same stream, so choosing a class does not change the latent.
    """
    latents = np.empty((len(seeds), latent_dim), np.float32)
    labels = np.zeros(len(seeds), np.int64)
    stream, bits = _thread_stream.stream, _thread_stream.bits
    low_bits = (1 << (classes - 1).bit_length()) - 1
    for row, seed in enumerate(seeds):
        stream.seed(seed)  # the same stream as RandomState(seed)
        latents[row] = stream.standard_normal(latent_dim)
        if classes:
            # Equals stream.randint(classes), but faster: rejection sampling of a word's low bits.
            while (label := bits.random_raw() & low_bits) >= classes:
                pass
            labels[row] = label
    return latents, labels


def truncate(latents: Latents, mean: Latents, truncation: float) -> Latents:
    """Move latents toward the mean latent: less variety, fewer outliers.

    latents: [N, latent_dim]; mean: [latent_dim]; truncation: 1 leaves them, 0 gives the mean
    (the truncation trick in its linear form, Karras et al. 2019, section 3).
    """
    if truncation == 1:
        return latents
    return (mean + np.float32(truncation) * (latents - mean)).astype(np.float32)


def interpolate(keyframes: Latents, steps: int, curve: Curve = "slerp", loop: bool = False) -> tuple[Latents, Labels]:
    """Latents on the path through keyframes, `steps` for each segment.

    keyframes: [K, latent_dim], at least two. loop: a last segment leads back to the first keyframe. Returns the frames
    [F, latent_dim] and for each the index int64 [F] of the nearer keyframe; F = steps (K - 1) + 1, or steps K in
    a loop, which does not show its first frame twice.
    """
    between = slerp if curve == "slerp" else lerp
    segments = len(keyframes) if loop else len(keyframes) - 1
    weights = np.arange(steps, dtype=np.float32) / np.float32(steps)
    frames = [
        between(keyframes[segment], keyframes[(segment + 1) % len(keyframes)], weight)
        for segment in range(segments)
        for weight in weights
    ]
    nearest = [(segment + (2 * step >= steps)) % len(keyframes) for segment in range(segments) for step in range(steps)]
    if not loop:
        frames.append(keyframes[-1])
        nearest.append(len(keyframes) - 1)
    return np.stack(frames), np.array(nearest, np.int64)


def lerp(start: Latents, end: Latents, weight: float) -> Latents:
    """Linear interpolation from `start` to `end`, both [latent_dim]; weight: 0 gives `start`, 1 `end`."""
    return ((1 - weight) * start + weight * end).astype(np.float32)


def slerp(start: Latents, end: Latents, weight: float) -> Latents:
    """Spherical interpolation from `start` to `end`, both [latent_dim] (White 2016, "Sampling Generative Networks").

    Nearly all of a Gaussian lies on a shell; a straight line would cut through its empty middle, where the network has
    not been trained. Falls back to `lerp` where no arc is unique: parallel or opposite vectors, or zero.
    """
    lengths = float(np.linalg.norm(start) * np.linalg.norm(end))
    angle = np.arccos(np.clip(float(start @ end) / lengths, -1.0, 1.0)) if lengths else 0.0
    if np.sin(angle) < 1e-4:
        return lerp(start, end, weight)
    point = (np.sin((1 - weight) * angle) * start + np.sin(weight * angle) * end) / np.sin(angle)
    return np.asarray(point, np.float32)
