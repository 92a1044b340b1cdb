"""What generated images are looked at with: a cheap classifier while a run goes on, a deep extractor at its end.

The classifier sees images at 28 px whatever they are made at, so that sizes compare. Of its view there are three
figures: how many classes appear (`class_coverage`), how far images are apart in its features, as a share of how
far real ones are, and the share of images within the real ones' neighbourhood (precision, Kynkaanniemi et al. 2019).
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
from benchmarks.experiments.results import EvalPoint
from serving.files import atomic_write
from training.evaluation.classifier import Classifier, train_classifier
from training.evaluation.features import EFFICIENTNET_LITE0, extract_features
from training.evaluation.metrics import NEIGHBOURHOOD, class_coverage, distribution_metrics, intra_class_diversity

SIDE = 28  # pixels
EXTRACTOR = EFFICIENTNET_LITE0


@dataclass(frozen=True)
class Evaluator:
    """A classifier of the data and the real images to compare with."""

    classifier: Classifier
    accuracy: float  # on real images that it has not seen, 0..1
    reference: Tensor  # the classifier's features of real images, [M, D]
    labels: NDArray[np.int64]  # [M]
    diversity_of_real: float

    def look(self, images: NDArray[np.uint8], epoch: int) -> EvalPoint:
        """The figures of generated images uint8 [N, H, W, C]."""
        features, predicted = _seen(self.classifier, images)
        near = prc_features_to_metric(features, self.reference, prc_neighborhood=NEIGHBOURHOOD, verbose=False)
        return EvalPoint(
            epoch=epoch,
            coverage=class_coverage(predicted, self.labels),
            diversity=_diversity(features) / self.diversity_of_real,
            precision=near["precision"],
        )


def train_evaluator(split: Split, folder: Path, epochs: int) -> None:
    """Trains the classifier on all images but those to compare with, and measures real ones, unless that is done."""
    size = len(split.held_out.images)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    path = _classifier_path(folder, size, epochs)
    if not path.exists():
        everything = split.training
        images = shrink(everything.images)
        classes = int(split.reference.labels.max()) + 1
        classifier, accuracy = train_classifier(images, everything.labels, classes, epochs, device)
        with atomic_write(path) as part:
            torch.save({"weights": classifier.state_dict(), "accuracy": accuracy, "classes": classes}, part)
    path = _features_path(folder, size)
    if not path.exists():
        held_out, reference = (
            extract_features(part.images, EXTRACTOR, device) for part in (split.held_out, split.reference)
        )
        kept = {"reference": reference, "diversity": _diversity(held_out)}
        with atomic_write(path) as part:
            torch.save(kept | {"real": _compare(held_out, kept)}, part)


def load_evaluator(split: Split, folder: Path, epochs: int) -> Evaluator:
    """The classifier that `train_eye` left, with the real images of the split."""
    kept: dict[str, Any] = torch.load(
        _classifier_path(folder, len(split.held_out.images), epochs), map_location="cpu", weights_only=True
    )
    classifier = Classifier(split.reference.images.shape[3], kept["classes"])
    classifier.load_state_dict(kept["weights"])
    classifier.eval()
    reference, _ = _seen(classifier, split.reference.images)
    held_out, _ = _seen(classifier, split.held_out.images)
    return Evaluator(classifier, kept["accuracy"], reference, split.reference.labels, _diversity(held_out))


def measure(images: NDArray[np.uint8], split: Split, folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """What the deep extractor says of generated images, and of as many held-out real ones: a perfect generator's."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kept = torch.load(_features_path(folder, len(split.held_out.images)), weights_only=True)
    return _compare(extract_features(images, EXTRACTOR, device), kept), kept["real"]


def shrink(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images [N, H, W, C] at the side that the classifier sees."""
    if images.shape[1] == SIDE:
        return np.asarray(images)
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float()
    small = interpolate(pixels, (SIDE, SIDE), mode="area").round().to(torch.uint8)
    result: NDArray[np.uint8] = small.permute(0, 2, 3, 1).contiguous().numpy()
    return result


def _compare(features: Tensor, kept: dict[str, Any]) -> dict[str, float]:
    measures = distribution_metrics(features, kept["reference"])
    diversity = _diversity(features) / kept["diversity"]
    return {name: measures[name] for name in ("kid", "precision", "recall")} | {"diversity": diversity}


def _diversity(features: Tensor) -> float:
    return intra_class_diversity(features, np.zeros(len(features), np.int64))


@torch.no_grad()
def _seen(classifier: Classifier, images: NDArray[np.uint8]) -> tuple[Tensor, NDArray[np.int64]]:
    """The classifier's features [N, D] and its classes [N]."""
    pixels = torch.from_numpy(np.array(shrink(images))).permute(0, 3, 1, 2).float() / 127.5 - 1
    features = classifier.layers[:-1](pixels)
    predicted: NDArray[np.int64] = classifier.layers[-1](features).argmax(1).numpy()
    return features, predicted


def _classifier_path(folder: Path, size: int, epochs: int) -> Path:
    return folder / f"classifier-{size}-{epochs}.pt"


def _features_path(folder: Path, size: int) -> Path:
    return folder / f"features-{EXTRACTOR}-{size}.pt"
