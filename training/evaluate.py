"""Stage 4: the exported file is measured against real images, as it is served.

    python -m training.evaluate

Every distance stands beside the same distance between two disjoint sets of real images: what a generator
that had learned the data perfectly would score at this number of images. A figure that the data is too small for is
left out, with the reason beside it under `omitted`.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from serving.encoding.images import contact_sheet, encode
from serving.files import atomic_write
from serving.inference.generator import OnnxGenerator
from training import paths
from training.data.manifest import Manifest, read_arrays, read_manifest
from training.evaluation.classifier import classify, train_classifier
from training.evaluation.features import cached_features, extract_features
from training.evaluation.metrics import (
    MIN_IMAGES,
    class_coverage,
    distribution_metrics,
    intra_class_diversity,
    memorised_fraction,
    nearest_neighbours,
)
from training.param_sections import EvaluateParams
from training.params import load_params
from training.stage import run_stage

AGREEMENT_IMAGES = 1000  # made to ask whether the class that was requested is recognised, or one a class
MIN_REFERENCE_IMAGES = 100  # real images without which the nearest hundredth of them is no image
SHEET_COLUMNS = 8


@dataclass(frozen=True)
class Omitted:
    """A figure that the data is too small for."""

    reason: str


@dataclass(frozen=True)
class Sample:
    """Generated images and the two sets of real ones that they are held against."""

    generated: NDArray[np.uint8]  # [N, H, W, C], with the classes of `held_out`
    reference: NDArray[np.uint8]  # [N, H, W, C]; empty where the data is a single image
    held_out: NDArray[np.uint8]  # [N, H, W, C], disjoint from `reference`
    reference_index: NDArray[np.int64]  # [N], where they are in the prepared arrays
    held_out_index: NDArray[np.int64]  # [N]
    labels: NDArray[np.int64]  # [N], of `generated` and of `held_out` alike; all 0 where the model has no classes


def main() -> None:
    """Writes reports/metrics.json and the sheet."""
    params = load_params().evaluate
    manifest = read_manifest()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images, labels = read_arrays(manifest)
    generator = OnnxGenerator.load(paths.MODEL)
    sample = draw_samples(generator, images, labels, params.images)
    neighbours, gaps = nearest_neighbours(sample.generated, images)
    metrics = {
        "model_id": generator.model_id,
        "images": len(sample.generated),
        "extractor": params.extractor,
        **feature_metrics(sample, params.extractor, device),
        **neighbour_metrics(sample, images, gaps),
    }
    if manifest.classes:
        metrics |= class_metrics(generator, sample, images, labels, manifest, params, device)
    write_comparison_grid(sample, images[neighbours], len(generator.card.classes))
    metrics = split_omitted(metrics)
    with atomic_write(paths.METRICS) as path:
        path.write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    print(summary(metrics))


def draw_samples(generator: OnnxGenerator, images: NDArray[np.uint8], labels: NDArray[np.int64], wanted: int) -> Sample:
    """Two disjoint random halves of real images, and seeds 0, 1, 2, ... with the classes of the second half."""
    count = min(wanted, max(1, len(images) // 2))
    chosen = np.random.RandomState(0).permutation(len(images))[: 2 * count]
    reference, held_out = np.sort(chosen[:-count]), np.sort(chosen[-count:])
    asked = labels[held_out] if generator.card.classes else None
    generated, _ = generator.generate(list(range(count)), asked)
    shared = np.zeros(count, np.int64) if asked is None else asked
    return Sample(generated, images[reference], images[held_out], reference, held_out, shared)


def feature_metrics(sample: Sample, extractor: str, device: torch.device) -> dict[str, Any]:
    """KID, FID, precision, recall and diversity, each with what real images score."""
    real = cached_features(np.concatenate([sample.held_out, sample.reference]), extractor, device)
    generated = extract_features(sample.generated, extractor, device)
    held_out, reference = real[: len(generated)], real[len(generated) :]
    ours, floor = distribution_metrics(generated, reference), distribution_metrics(held_out, reference)
    result: dict[str, Any] = {}
    for name, needed in MIN_IMAGES.items():
        missing = Omitted(f"needs at least {2 * needed} images in the data")
        result |= {name: ours.get(name, missing), f"{name}_of_real": floor.get(name, missing)}
    pairs = np.bincount(sample.labels).max() > 1
    for name, features in (("diversity", generated), ("diversity_of_real", held_out)):
        result[name] = (
            intra_class_diversity(features, sample.labels)
            if pairs
            else Omitted("needs two images of one class among those that are compared")
        )
    return result


def neighbour_metrics(sample: Sample, images: NDArray[np.uint8], gaps: NDArray[np.float32]) -> dict[str, Any]:
    """Whether the model copies: how near it comes to training images, and how near real images are to the others.

    gaps: [N], of the generated images to their nearest training images.
    """
    metrics: dict[str, Any] = {"nearest_training": float(np.median(gaps))}
    _, real_gaps = nearest_neighbours(sample.held_out, images, exclude=sample.held_out_index)
    alone = Omitted("needs at least 2 images in the data")
    metrics["nearest_training_of_real"] = float(np.median(real_gaps)) if len(images) > 1 else alone
    if len(sample.reference) < MIN_REFERENCE_IMAGES:
        few = Omitted(
            f"needs a hundredth of the real images that are compared: {2 * MIN_REFERENCE_IMAGES} images in the data"
        )
        return metrics | dict.fromkeys(("memorised", "memorised_of_real"), few)
    _, reference_gaps = nearest_neighbours(sample.reference, images, exclude=sample.reference_index)
    metrics["memorised"] = memorised_fraction(gaps, reference_gaps)
    metrics["memorised_of_real"] = memorised_fraction(real_gaps, reference_gaps)
    return metrics


def class_metrics(
    generator: OnnxGenerator,
    sample: Sample,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    manifest: Manifest,
    params: EvaluateParams,
    device: torch.device,
) -> dict[str, Any]:
    """What a classifier of the data sees in generated images: agreement with the class asked for, coverage."""
    classes = len(manifest.classes)
    names = ["classifier_accuracy", "class_coverage", *(["class_agreement"] if generator.card.classes else [])]
    if np.bincount(labels).max() == 1:
        return dict.fromkeys(names, Omitted("needs two images of a class: one to learn it from and one to ask about"))
    classifier, accuracy = train_classifier(images, labels, classes, params.classifier_epochs, device)
    seen = classify(classifier, sample.generated)
    result: dict[str, Any] = {"classifier_accuracy": accuracy, "class_coverage": class_coverage(seen, labels)}
    if generator.card.classes:
        count = max(AGREEMENT_IMAGES, classes)
        asked = np.arange(count) % classes
        agrees = classify(classifier, generator.generate(list(range(count)), asked)[0]) == asked
        result["class_agreement"] = float(agrees.mean())
        result["class_agreement_by_class"] = {
            name: float(agrees[asked == label].mean()) for label, name in enumerate(manifest.classes)
        }
    return result


def write_comparison_grid(sample: Sample, neighbours: NDArray[np.uint8], classes: int) -> None:
    """Three panels: real images, generated ones, and the training image nearest to each generated one.

    A row a class where there are classes, so that rows compare.
    """
    rows = min(classes, 10) or SHEET_COLUMNS
    chosen: list[int] = []
    for row in range(rows):
        members = (
            np.flatnonzero(sample.labels == row) if classes else np.arange(row * SHEET_COLUMNS, len(sample.labels))
        )
        # A class with few images repeats them rather than shift the rows below.
        chosen += np.resize(members, SHEET_COLUMNS).tolist() if len(members) else [0] * SHEET_COLUMNS
    panels = [
        contact_sheet(images[chosen], SHEET_COLUMNS) for images in (sample.held_out, sample.generated, neighbours)
    ]
    gutter = np.full((panels[0].shape[0], 16, panels[0].shape[2]), 255, np.uint8)
    sheet = np.concatenate([panels[0], gutter, panels[1], gutter, panels[2]], axis=1)
    with atomic_write(paths.EVALUATION_GRID) as path:
        path.write_bytes(encode(sheet, "png"))


def split_omitted(metrics: dict[str, Any]) -> dict[str, Any]:
    """The metrics that strict JSON can hold, and the reason for each of the others under `omitted`."""
    kept: dict[str, Any] = {}
    omitted: dict[str, str] = {}
    for name, value in metrics.items():
        if isinstance(value, Omitted):
            omitted[name] = value.reason
        elif isinstance(value, float) and not math.isfinite(value):
            omitted[name] = "has no finite value for these images"
        else:
            kept[name] = value
    return kept | {"omitted": omitted} if omitted else kept


def summary(metrics: dict[str, Any]) -> str:
    """The figures that a person decides by, on one line."""
    # Only Inception's may be called by the bare names.
    qualifier = "" if metrics["extractor"] == "inception" else f" ({metrics['extractor']})"
    parts = []
    if "kid" in metrics:
        parts.append(f"KID {metrics['kid']:.4f} (real {metrics['kid_of_real']:.4f})")
    parts += [f"{name} {metrics[name]:.2f}" for name in ("precision", "recall") if name in metrics]
    if "class_agreement" in metrics:
        accuracy = f"classifier {metrics['classifier_accuracy']:.0%}"
        parts.append(f"class agreement {metrics['class_agreement']:.0%} ({accuracy})")
    if "memorised" in metrics:
        parts.append(f"memorised {metrics['memorised']:.1%} (real {metrics['memorised_of_real']:.1%})")
    if "omitted" in metrics:
        names = (name for name in metrics["omitted"] if not name.endswith("_of_real"))
        parts.append(f"left out: {', '.join(names)} (reasons in {paths.METRICS})")
    images = f"{metrics['images']} image{'s' if metrics['images'] > 1 else ''}"
    return f"evaluated {paths.MODEL} on {images}{qualifier}: {'  '.join(parts)}; sheet {paths.EVALUATION_GRID}"


if __name__ == "__main__":
    run_stage(main)
