"""Mode coverage on 2D Gaussian mixtures: a ring of 8 and a grid of 25, as in Metz et al. 2017 and PacGAN.

The networks are small MLPs, the same for every configuration; all else (objective, rates, batch, EMA, penalties,
stabilisers) is the configuration's, trained by the same `GANTrainer` as on images.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.budget import train_for
from training.fabric import make_fabric
from training.gan.trainer import GANTrainer
from training.networks.base import Backbone, Discriminator, Generator
from training.params import Params

SAMPLES = 2_500  # generated for the evaluation (Lin et al. 2018, section 4.1)
MAX_DEVIATIONS = 3.0  # from its centre, of a high-quality sample (Lin et al. 2018, section 4.1)
WIDTH = 128
LATENT_DIM = 2  # that of the points (Lin et al. 2018)


@dataclass(frozen=True)
class Mixture:
    """Gaussians of equal weight: centres [modes, 2] and their common standard deviation."""

    centres: NDArray[np.float32]
    deviation: float

    def batches(self, batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless batches of new points, as images of one pixel float32 [batch, 2, 1, 1], with dummy labels."""
        stream = np.random.RandomState(seed)
        labels = torch.zeros(batch, dtype=torch.int64)
        while True:
            centres = self.centres[stream.randint(0, len(self.centres), batch)]
            points = centres + self.deviation * stream.standard_normal((batch, 2))
            yield torch.from_numpy(points.astype(np.float32))[:, :, None, None], labels


@dataclass(frozen=True)
class Coverage:
    """Modes of a mixture that a generator covers."""

    modes: int  # with at least one sample of high quality
    of: int
    high_quality: float  # share of the samples within MAX_DEVIATIONS of a centre, 0..1


def ring() -> Mixture:
    """8 Gaussians on a circle of radius 2 (Metz et al. 2017, appendix A)."""
    angles = np.arange(8) * np.pi / 4
    return Mixture(2 * np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32), 0.02)


def grid() -> Mixture:
    """25 Gaussians on a 5 x 5 grid from -4 to 4 (Lin et al. 2018, section 4.1)."""
    side = np.linspace(-4, 4, 5)
    return Mixture(np.array([(x, y) for x in side for y in side], np.float32), 0.05)


def coverage(points: NDArray[np.float32], mixture: Mixture) -> Coverage:
    """Evaluate samples [N, 2]; each counts for its nearest centre."""
    gaps = np.linalg.norm(points[:, None] - mixture.centres[None], axis=2)
    near = gaps.min(axis=1) <= MAX_DEVIATIONS * mixture.deviation
    return Coverage(len(np.unique(gaps.argmin(axis=1)[near])), len(mixture.centres), float(near.mean()))


def networks(params: Params) -> tuple[Generator, Discriminator]:
    """Two MLPs with two hidden layers each; points are images [N, 2, 1, 1]."""
    point = [nn.Linear(WIDTH, 2), nn.Unflatten(1, (2, 1, 1))]
    generator = Generator(params.network.latent_dim, None, lambda inputs: nn.Sequential(*_hidden(inputs), *point))
    features = nn.Sequential(nn.Flatten(), *_hidden(2 * params.stabilise.packing), nn.Unflatten(1, (WIDTH, 1, 1)))
    head = Backbone(features, WIDTH, lambda channels: nn.Sequential(nn.Flatten(), nn.Linear(channels, 1)))
    return generator, Discriminator(head, "none", None, minibatch_std=params.network.minibatch_std)


def _hidden(inputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, WIDTH), nn.LeakyReLU(0.2), nn.Linear(WIDTH, WIDTH), nn.LeakyReLU(0.2)]


def train_and_evaluate(mixture: Mixture, params: Params, cpu_seconds: float) -> Coverage:
    """Train on a mixture for so many CPU seconds and evaluate the EMA generator."""
    torch.manual_seed(params.train.seed)
    gan = GANTrainer(params, None, make_fabric("cpu"), networks(params))
    train_for(gan, mixture.batches(params.train.batch, params.train.seed), cpu_seconds)
    with torch.no_grad():
        points = gan.ema(torch.randn(SAMPLES, params.network.latent_dim)).flatten(1).numpy()
    return coverage(points, mixture)
