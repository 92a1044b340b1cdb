"""Probes of a run in training: how far its images are from real ones, and how its discriminator is doing.

They are taken on copies of the networks with random numbers of their own, so that training goes on as if there were
none. Fixed seeds are judged by the features of MobileNetV2, as in `evaluate`, but at half the side and on fewer
images: a probe has to take a few percent of the time between two of them.
"""

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch_fidelity.metric_prc import prc_features_to_metric

from serving.encoding.transparency import composite
from serving.inference import latents
from training.data.batches import TrainingData, derive_seed
from training.evaluation.features import MOBILENET_V2, MobileNetV2, cached_features, network_features
from training.evaluation.linear_probe import LinearProbe
from training.evaluation.memorisation import MIN_TRAINING_IMAGES, near_copies
from training.evaluation.metrics import (
    NEIGHBOURHOOD,
    class_coverage,
    effective_rank,
    intra_class_diversity,
    nearest_distances,
    squared_mmds,
)
from training.gan.ema import set_standing_statistics
from training.gan.trainer import GANTrainer
from training.networks.inference_wrapper import InferenceGenerator

PROBE_STREAM = 2  # domain separator between the RNG of a probe and that of a step
FEATURE_SIDE = 64  # pixels that the images are resized to for MobileNetV2
REFERENCE_IMAGES = 512  # real images that are compared with
GENERATED_IMAGES = 256
STANDING_IMAGES = 256  # fakes that the batch norms' statistics are taken over
GENERATED_AT_ONCE = 64
KID_SUBSET = 128
JUDGED_IMAGES = 128  # training, held-out and generated images whose logits are compared
CLASSES_COMPARED = 5  # that the discriminator's class recognition chooses between
MAX_CLASSES = 64  # above, a few hundred real images say too little about each
COPY_TEST_IMAGES = 64
MAX_COPY_TEST_DATA = 2000  # training images; larger sets are not memorised in the length of a run
LEAST_VARIED = 1e-6  # measure of real images that are all the same, by which those of generated ones are divided
DUPLICATE_QUANTILE = 0.01  # of the distances of real images to their nearest: nearer pairs are duplicates

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class RealImages:
    """Real images and what they score, as the measure of the generated ones."""

    images: Images  # [R, H, W, C]
    labels: NDArray[np.int64]  # [R]
    features: Tensor  # [R, D]
    diversity: float
    pixel_diversity: float
    rank: float
    duplicate_distance: float
    classifier: LinearProbe | None  # None without classes, and for too many
    chance: float  # accuracy of the most frequent class, always


class Probes:
    """Measurements of one run. classes: number of classes in the data; background: that of transparent pixels."""

    def __init__(self, data: TrainingData, classes: int, background: str) -> None:
        self._data, self._classes, self._background = data, classes, background
        self._extractor = MobileNetV2(FEATURE_SIDE).eval().to(data.device)
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(derive_seed(0, PROBE_STREAM)))
        self._training = data.members[order.to(data.members.device)]
        self._real = self._measure_real(self._training[:REFERENCE_IMAGES])

    def measure(self, gan: GANTrainer) -> dict[str, float]:
        """Measure a run at its present step. Names and meanings: docs/doctor.md."""
        torch.manual_seed(derive_seed(gan.params.train.seed, gan.steps, PROBE_STREAM))
        generated, requested = self._generate(gan)
        measured = self._image_measures(generated, requested, bool(gan.classes))
        measured |= self._discriminator_measures(gan, generated, requested)
        for name, network in (("g", gan.generator), ("d", gan.discriminator)):
            measured[f"{name}_weights"] = weight_norm(network)
        return measured

    def _measure_real(self, positions: Tensor) -> RealImages:
        images, labels = self._pixels(positions), self._data.labels[positions.to(self._data.labels.device)].cpu()
        features = cached_features(images, MOBILENET_V2, self._data.device, FEATURE_SIDE)
        half = min(len(images), GENERATED_IMAGES)
        own = labels[:half].numpy() if self._classes else np.zeros(half, np.int64)
        distances = nearest_distances(features[:half])
        return RealImages(
            images,
            labels.numpy(),
            features,
            diversity=max(intra_class_diversity(features[:half], own), LEAST_VARIED),
            pixel_diversity=max(pixel_diversity(images[:half], own), LEAST_VARIED),
            rank=max(effective_rank(features[:half], own), LEAST_VARIED),
            duplicate_distance=float(np.quantile(distances, DUPLICATE_QUANTILE)),
            classifier=(LinearProbe(features, labels, self._classes) if 1 < self._classes <= MAX_CLASSES else None),
            chance=float(np.bincount(labels).max() / len(labels)),
        )

    def _generate(self, gan: GANTrainer) -> tuple[Images, NDArray[np.int64]]:
        """Images of fixed seeds with the classes of the first real ones, and those classes."""
        generator = copy.deepcopy(gan.ema)
        device = gan.fabric.device
        set_standing_statistics(
            generator, gan.latent_dim, self._data.labels.to(device), gan.batch_size, STANDING_IMAGES
        )
        count = min(GENERATED_IMAGES, len(self._real.labels))
        labels = self._real.labels[:count]
        z = torch.from_numpy(latents.from_seeds(list(range(count)), gan.latent_dim)[0]).to(device)
        inference, requested = InferenceGenerator(generator), torch.from_numpy(labels).to(device)
        with torch.no_grad():
            parts = [
                inference(z[start : start + GENERATED_AT_ONCE], requested[start : start + GENERATED_AT_ONCE]).cpu()
                for start in range(0, count, GENERATED_AT_ONCE)
            ]
        return torch.cat(parts).numpy(), labels

    def _image_measures(self, generated: Images, labels: NDArray[np.int64], conditional: bool) -> dict[str, float]:
        """Measures of generated images [N, H, W, C] whose requested classes are labels [N]."""
        real, opaque = self._real, composite(generated, self._background)
        features = self._features(generated)
        own = labels if conditional else np.zeros_like(labels)
        estimates = squared_mmds(features, real.features, min(KID_SUBSET, len(features) // 2))
        prc = prc_features_to_metric(
            features, real.features[: len(features)], prc_neighborhood=NEIGHBOURHOOD, verbose=False
        )
        measured = {
            "kid": estimates.mean().item(),
            "kid_std": estimates.std(correction=0).item(),
            "precision": float(prc["precision"]),
            "recall": float(prc["recall"]),
            "diversity": intra_class_diversity(features, own) / real.diversity,
            "pixel_diversity": pixel_diversity(opaque, own) / real.pixel_diversity,
            "rank": effective_rank(features, own) / real.rank,
            "duplicates": float((nearest_distances(features) < real.duplicate_distance).mean()),
        }
        if real.classifier is not None:
            predicted = real.classifier.predict(features).numpy()
            measured["class_coverage"] = class_coverage(predicted, real.labels)
            measured["classifier_accuracy"] = real.classifier.accuracy
            measured["class_chance"] = real.chance
            if conditional:
                measured["class_agreement"] = float((predicted == labels).mean())
        if MIN_TRAINING_IMAGES <= len(self._training) <= MAX_COPY_TEST_DATA:
            training = self._pixels(self._training)
            measured["copies"] = float(near_copies(opaque[:COPY_TEST_IMAGES], training).mean())
        return measured

    def _discriminator_measures(
        self, gan: GANTrainer, generated: Images, requested: NDArray[np.int64]
    ) -> dict[str, float]:
        """Mean logits of training, held-out and generated images, and how well classes are recognised."""
        network = copy.deepcopy(gan.discriminator.module)
        device = gan.fabric.device
        measured: dict[str, float] = {}
        count = min(JUDGED_IMAGES, len(self._data.held_out)) // gan.params.stabilise.packing
        if count:
            fakes = torch.from_numpy(generated).permute(0, 3, 1, 2).to(device).float() / 127.5 - 1
            sets = {
                "training": self._data.batch(self._training[:JUDGED_IMAGES], 0, 0),
                "held_out": self._data.batch(self._data.held_out, 0, 0),
                "generated": (fakes, torch.from_numpy(requested).to(device)),
            }
            size = min(gan.batch_size, len(self._data.held_out)) // gan.params.stabilise.packing
            batch = size * gan.params.stabilise.packing
            for name, each in sets.items():
                logits = judged_logits(gan, network, *each, batch)
                measured[f"d_{name}_logit"] = logits.mean().item()
                measured[f"d_{name}_logit_error"] = logits.std().item() / math.sqrt(len(logits))
        if gan.classes > 1 and gan.params.network.condition == "projection":
            images, labels = self._data.batch(self._training[:JUDGED_IMAGES], 0, 0)
            measured["d_class_accuracy"] = class_recognition(gan, network, images, labels)
        return measured

    def _pixels(self, positions: Tensor) -> Images:
        """Images uint8 [N, H, W, 1 or 3] at these positions, on the background."""
        images: Images = self._data.images[positions].permute(0, 2, 3, 1).cpu().numpy()
        return composite(images, self._background)

    def _features(self, images: Images) -> Tensor:
        opaque = composite(images, self._background)
        return network_features(self._extractor, opaque, self._data.device, "looking at the images of a probe, batch")


@torch.no_grad()
def judged_logits(gan: GANTrainer, network: nn.Module, images: Tensor, labels: Tensor, batch: int) -> Tensor:
    """Logits [M] of a copy of the discriminator for images [N, C, H, W], in whole batches, as batch norm needs.

    Several logits of an image, or of a pack of images, become their mean.
    """
    outputs = batch // gan.params.stabilise.packing
    logits = [
        gan.judge(network, images[start : start + batch], labels[start : start + batch]).logits.view(outputs, -1)
        for start in range(0, len(images) // batch * batch, batch)
    ]
    return torch.cat(logits).mean(1)


@torch.no_grad()
def class_recognition(gan: GANTrainer, network: Any, images: Tensor, labels: Tensor) -> float:
    """How well a discriminator with projection tells the classes of real images, from 0, chance, to 1.

    An image counts as recognised when its logit is highest under its own class, among five classes at most. A
    discriminator that recognises none has stopped to learn about images.
    """
    steps = np.linspace(0, gan.classes, min(gan.classes, CLASSES_COMPARED), endpoint=False).astype(int)
    with gan.fabric.autocast():
        features = network.features(images)
        outputs = [network.discriminate(features, (labels + int(step)) % gan.classes) for step in steps]
    logits = torch.stack([output.logits.view(len(images), -1).mean(1) for output in outputs])
    recognised = (logits.argmax(0) == 0).float().mean().item()
    chance = 1 / len(steps)
    return max(0.0, (recognised - chance) / (1 - chance))


def weight_norm(network: nn.Module) -> float:
    """Euclidean norm of all weights of a network."""
    norms: Any = torch._foreach_norm(list(network.parameters()))
    norm: float = torch.stack(norms).norm().item()
    return norm


def pixel_diversity(images: Images, labels: NDArray[np.int64]) -> float:
    """Mean absolute difference of an image [H, W, C] from the average of its class, in 1/255."""
    pixels = images.astype(np.float32)
    classes = [pixels[labels == label] for label in np.unique(labels)]
    return float(np.mean([np.abs(members - members.mean(0)).mean() for members in classes]))
