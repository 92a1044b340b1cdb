"""Mode coverage on Stacked Fashion-MNIST: three grey images as the channels of one, 1,000 modes.

Stacked MNIST (Metz et al. 2017, section 3.3.1) with the embedded Fashion-MNIST for digits. A mode is a triple of
classes; a classifier of single images labels the three channels. Training is unconditional: labels would reveal
the modes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.budget import train_for
from training.evaluation.classifier import Classifier, classify
from training.fabric import make_fabric
from training.gan.trainer import GANTrainer
from training.networks.inference_wrapper import InferenceGenerator
from training.params import Params

MODES = 1000
SAMPLES = 26_000  # as in the papers
BATCH = 500  # images generated at a time
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class StackedImages:
    """Grey images uint8 [M, H, W], any three of which are stacked into an RGB image."""

    grey: Pixels

    def sample(self, count: int, stream: np.random.RandomState) -> Pixels:
        """Random images uint8 [count, H, W, 3]; with equal classes all modes are equally likely."""
        return self.grey[stream.randint(0, len(self.grey), (count, 3))].transpose(0, 2, 3, 1)

    def batches(self, batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless batches of new images float32 [batch, 3, H, W] in [-1, 1], with dummy labels."""
        stream = np.random.RandomState(seed)
        labels = torch.zeros(batch, dtype=torch.int64)
        while True:
            yield torch.from_numpy(self.sample(batch, stream)).permute(0, 3, 1, 2).float() / 127.5 - 1, labels


@dataclass(frozen=True)
class ModeCount:
    """Modes that a set of images covers."""

    modes: int  # with at least one image, of 1,000
    kl: float  # KL divergence of the images' distribution over the modes from the uniform one, in nats


def count_modes(images: Pixels, classifier: Classifier) -> ModeCount:
    """Count the modes of images [N, H, W, 3] (Metz et al. 2017, section 3.3.1)."""
    channels = [classify(classifier, images[..., channel : channel + 1]) for channel in range(3)]
    mode = channels[0] * 100 + channels[1] * 10 + channels[2]
    frequency = np.bincount(mode, minlength=MODES) / len(images)
    covered = frequency[frequency > 0]
    return ModeCount(len(covered), float((covered * np.log(covered * MODES)).sum()))


def train_and_evaluate(
    grey: Pixels, classifier: Classifier, params: Params, cpu_seconds: float
) -> tuple[ModeCount, float]:
    """Train on stacked images for so many CPU seconds; returns the EMA generator's modes, and the kimg seen."""
    gan = GANTrainer(params, None, make_fabric("cpu"))
    train_for(gan, StackedImages(grey).batches(params.train.batch, params.train.seed), cpu_seconds)
    return count_modes(generate(gan), classifier), gan.images_seen / 1000


@torch.no_grad()
def generate(gan: GANTrainer) -> Pixels:
    """SAMPLES images of the EMA generator, uint8 [N, H, W, 3], from the same latents for every run."""
    torch.manual_seed(0)
    generator = InferenceGenerator(gan.ema)
    batches = [generator(torch.randn(BATCH, gan.latent_dim)).numpy() for _ in range(0, SAMPLES, BATCH)]
    return np.concatenate(batches)
