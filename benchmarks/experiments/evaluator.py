"""Evaluation of generated images: a cheap classifier during a run, a deep feature extractor at its end.

The classifier sees images at 28 px whatever their resolution, so that resolutions compare. It gives three metrics: the
share of classes that appear (`class_coverage`), the mean distance between images in its features relative to real
images, and the share of images within the real ones' neighbourhood (precision, Kynkaanniemi et al. 2019).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate
from torch_fidelity.metric_prc import prc_features_to_metric

from benchmarks.experiments.dataset import Split
from benchmarks.experiments.results import Evaluation
from training.evaluation.classifier import Classifier, train_classifier
from training.evaluation.features import EFFICIENTNET_LITE0, extract_features
from training.evaluation.metrics import NEIGHBOURHOOD, class_coverage, distribution_metrics, intra_class_diversity
from training.torch_files import save_with_checksum

RESOLUTION = 28  # of the classifier
EXTRACTOR = EFFICIENTNET_LITE0


@dataclass(frozen=True)
class Evaluator:
    """Classifier of the data, with the real images to compare with."""

    classifier: Classifier
    accuracy: float  # on held-out real images, 0..1
    reference: Tensor  # the classifier's features of real images, [M, D]
    labels: NDArray[np.int64]  # [M]
    real_diversity: float

    def evaluate(self, images: NDArray[np.uint8], epoch: int) -> Evaluation:
        """Evaluate generated images uint8 [N, H, W, C]."""
        features, predicted = _classify(self.classifier, images)
        near = prc_features_to_metric(features, self.reference, prc_neighborhood=NEIGHBOURHOOD, verbose=False)
        return Evaluation(
            epoch=epoch,
            coverage=class_coverage(predicted, self.labels),
            diversity=_diversity(features) / self.real_diversity,
            precision=near["precision"],
        )


def train_evaluator(split: Split, folder: Path, epochs: int) -> None:
    """Train the classifier on the images of `split.training`, and measure real images, unless that is done."""
    size = len(split.held_out.images)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    path = _classifier_path(folder, size, epochs)
    if not path.exists():
        images = downscale(split.training.images)
        classes = int(split.reference.labels.max()) + 1
        classifier, accuracy = train_classifier(images, split.training.labels, classes, epochs, device)
        save_with_checksum({"weights": classifier.state_dict(), "accuracy": accuracy, "classes": classes}, path)
    path = _features_path(folder, size)
    if not path.exists():
        held_out, reference = (
            extract_features(part.images, EXTRACTOR, device) for part in (split.held_out, split.reference)
        )
        saved = {"reference": reference, "diversity": _diversity(held_out)}
        save_with_checksum(saved | {"real": _metrics(held_out, saved)}, path)


def load_evaluator(split: Split, folder: Path, epochs: int) -> Evaluator:
    """Load the classifier that `train_evaluator` saved, with the real images of the split."""
    saved: dict[str, Any] = torch.load(
        _classifier_path(folder, len(split.held_out.images), epochs), map_location="cpu", weights_only=True
    )
    classifier = Classifier(split.reference.images.shape[3], saved["classes"])
    classifier.load_state_dict(saved["weights"])
    classifier.eval()
    reference, _ = _classify(classifier, split.reference.images)
    held_out, _ = _classify(classifier, split.held_out.images)
    return Evaluator(classifier, saved["accuracy"], reference, split.reference.labels, _diversity(held_out))


def measure(images: NDArray[np.uint8], split: Split, folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Metrics of the deep extractor for generated images, and for as many held-out real ones, the best attainable."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    saved = torch.load(_features_path(folder, len(split.held_out.images)), weights_only=True)
    return _metrics(extract_features(images, EXTRACTOR, device), saved), saved["real"]


def downscale(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resize images [N, H, W, C] to the classifier's resolution."""
    if images.shape[1] == RESOLUTION:
        return np.asarray(images)
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float()
    small = interpolate(pixels, (RESOLUTION, RESOLUTION), mode="area").round().to(torch.uint8)
    result: NDArray[np.uint8] = small.permute(0, 2, 3, 1).contiguous().numpy()
    return result


def _metrics(features: Tensor, saved: dict[str, Any]) -> dict[str, float]:
    metrics = distribution_metrics(features, saved["reference"])
    diversity = _diversity(features) / saved["diversity"]
    return {name: metrics[name] for name in ("kid", "precision", "recall")} | {"diversity": diversity}


def _diversity(features: Tensor) -> float:
    return intra_class_diversity(features, np.zeros(len(features), np.int64))


@torch.no_grad()
def _classify(classifier: Classifier, images: NDArray[np.uint8]) -> tuple[Tensor, NDArray[np.int64]]:
    """Features [N, D] and predicted classes [N]."""
    pixels = torch.from_numpy(np.array(downscale(images))).permute(0, 3, 1, 2).float() / 127.5 - 1
    features = classifier.layers[:-1](pixels)
    predicted: NDArray[np.int64] = classifier.layers[-1](features).argmax(1).numpy()
    return features, predicted


def _classifier_path(folder: Path, size: int, epochs: int) -> Path:
    return folder / f"classifier-{size}-{epochs}.pt"


def _features_path(folder: Path, size: int) -> Path:
    return folder / f"features-{EXTRACTOR}-{size}.pt"
