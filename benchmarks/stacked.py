"""Mode coverage in pictures: Stacked Fashion-MNIST, three pictures of clothes as the channels of one, 1,000 modes.

Stacked MNIST (Metz et al. 2017, section 3.3.1) with the embedded clothes for digits. A mode is a triple of classes; a
classifier of single pictures names the three channels. No labels are shown to the networks: they would give the modes
away.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.budget import train_for
from training.evaluation.classifier import Classifier, classify
from training.gan.trainer import GANTrainer
from training.networks.inference_wrapper import InferenceGenerator
from training.params import Params
from training.train import make_fabric

MODES = 1000
SAMPLES = 26_000  # as in the papers
CHUNK = 500  # images made at a time
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Stacks:
    """Pictures uint8 [M, H, W], any three of which make an image."""

    pictures: Pixels

    def draw(self, count: int, stream: np.random.RandomState) -> Pixels:
        """Images uint8 [count, H, W, 3], with all modes equally likely where all classes are."""
        return self.pictures[stream.randint(0, len(self.pictures), (count, 3))].transpose(0, 2, 3, 1)

    def batches(self, batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Ever fresh images float32 [batch, 3, H, W] in [-1, 1], and labels that mean nothing."""
        stream = np.random.RandomState(seed)
        labels = torch.zeros(batch, dtype=torch.int64)
        while True:
            yield torch.from_numpy(self.draw(batch, stream)).permute(0, 3, 1, 2).float() / 127.5 - 1, labels


@dataclass(frozen=True)
class ModeCount:
    """What a set of images covers of the modes."""

    modes: int  # with at least one image, of 1,000
    kl: float  # KL divergence of the images' distribution over the modes from the uniform one, in nats


def count_modes(images: Pixels, classifier: Classifier) -> ModeCount:
    """Counts the modes of images [N, H, W, 3] (Metz et al. 2017, section 3.3.1)."""
    channels = [classify(classifier, images[..., channel : channel + 1]) for channel in range(3)]
    mode = channels[0] * 100 + channels[1] * 10 + channels[2]
    share = np.bincount(mode, minlength=MODES) / len(images)
    found = share[share > 0]
    return ModeCount(len(found), float((found * np.log(found * MODES)).sum()))


def cover(pictures: Pixels, classifier: Classifier, params: Params, cpu_seconds: float) -> tuple[ModeCount, float]:
    """Trains a recipe for so many seconds of one core; returns what its average generator covers, and the kimg seen."""
    gan = GANTrainer(params, None, make_fabric("cpu"))
    train_for(gan, Stacks(pictures).batches(params.train.batch, params.train.seed), cpu_seconds)
    return count_modes(generated(gan), classifier), gan.images_seen / 1000


@torch.no_grad()
def generated(gan: GANTrainer) -> Pixels:
    """SAMPLES images of the average generator, uint8 [N, H, W, 3], from latents that depend on their size alone."""
    torch.manual_seed(0)
    served = InferenceGenerator(gan.ema)
    chunks = [served(torch.randn(CHUNK, gan.latent_dim)).numpy() for _ in range(0, SAMPLES, CHUNK)]
    return np.concatenate(chunks)
