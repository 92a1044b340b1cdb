"""Stage 4: metrics of the exported ONNX file, computed with the serving code against real images.

    python -m training.evaluate

Each metric has a real baseline, the same metric between two disjoint sets of real images: the score of a perfect
generator at this number of images. Metrics that the data is too small for are left out, and `omitted` gives the reason.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from serving.encoding.images import contact_sheet, encode
from serving.encoding.transparency import composite
from serving.files import atomic_write
from serving.inference.generator import MAX_BATCH, OnnxGenerator
from training import paths
from training.data.manifest import Manifest, read_arrays, read_manifest
from training.evaluation.classifier import classify, train_classifier
from training.evaluation.features import cached_features, extract_features
from training.evaluation.memorisation import COPY_TEST_IMAGES, MIN_TRAINING_IMAGES, near_copies
from training.evaluation.metrics import (
    MIN_IMAGES,
    class_coverage,
    distribution_metrics,
    intra_class_diversity,
    nearest_neighbours,
)
from training.param_sections import EvaluateParams
from training.params import load_params
from training.progress import track
from training.stage import run_stage

AGREEMENT_IMAGES = 1000  # generated for class agreement; at least one per class
MAX_MEMORISED = 0.05  # share of near-copies of training images above which a warning is printed
HEADLINE = ("kid", "precision", "recall", "class_agreement", "memorised")  # as many as a table of 120 columns holds
GENERATED_AT_ONCE = 4 * MAX_BATCH  # whole batches, so that the pixels are those of one call
GRID_COLUMNS = 8


@dataclass(frozen=True)
class Omitted:
    """Placeholder for a metric that the data is too small for."""

    reason: str


@dataclass(frozen=True)
class Sample:
    """Generated images and the two sets of real images that they are compared with."""

    generated: NDArray[np.uint8]  # [N, H, W, C], with the classes of `real_b`
    real_a: NDArray[np.uint8]  # [N, H, W, C], the reference; empty when the data is a single image
    real_b: NDArray[np.uint8]  # [N, H, W, C], the baseline, disjoint from `real_a`
    real_b_index: NDArray[np.int64]  # [N], positions of `real_b` in the prepared arrays
    labels: NDArray[np.int64]  # [N], of `generated` and `real_b`; all 0 when the model has no classes


def main() -> None:
    """Write the metrics of the candidate and the comparison grid beside it."""
    params = load_params().evaluate
    manifest = read_manifest()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = OnnxGenerator.load(paths.CANDIDATE_MODEL)
    images, labels = read_arrays(manifest)
    images = composite(images, generator.card.background)
    print(f"evaluating {paths.CANDIDATE_MODEL} against {len(images)} images ({params.extractor})", flush=True)
    sample = build_sample(generator, images, labels, params.images)
    neighbours, distances = nearest_neighbours(sample.generated, images)
    metrics = {
        "model_id": generator.model_id,
        "images": len(sample.generated),
        "extractor": params.extractor,
        **feature_metrics(sample, params.extractor, device),
        **memorisation_metrics(generator.card.memorised, sample, images, distances),
    }
    if manifest.classes:
        metrics |= class_metrics(generator, sample, images, labels, manifest, params, device)
    write_comparison_grid(sample, images[neighbours], len(generator.card.classes))
    metrics = split_omitted(metrics)
    headline = {name: round(metrics[name], 4) for name in HEADLINE if name in metrics}
    for file, values in ((paths.CANDIDATE_METRICS, metrics), (paths.CANDIDATE_HEADLINE, headline)):
        with atomic_write(file) as path:
            path.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n")
    print(summary(metrics))
    if metrics.get("memorised", 0.0) > MAX_MEMORISED:
        print(copy_warning(metrics))


def build_sample(
    generator: OnnxGenerator, images: NDArray[np.uint8], labels: NDArray[np.int64], max_count: int
) -> Sample:
    """Two disjoint random sets of real images, and generated images of seeds 0, 1, 2, ... with the classes of set b."""
    count = min(max_count, max(1, len(images) // 2))
    chosen = np.random.RandomState(0).permutation(len(images))[: 2 * count]
    real_a, real_b = np.sort(chosen[:-count]), np.sort(chosen[-count:])
    requested = labels[real_b] if generator.card.classes else None
    generated = generate_opaque(generator, count, requested)
    sample_labels = np.zeros(count, np.int64) if requested is None else requested
    return Sample(generated, images[real_a], images[real_b], real_b, sample_labels)


def generate_opaque(generator: OnnxGenerator, count: int, labels: NDArray[np.int64] | None) -> NDArray[np.uint8]:
    """Images of seeds 0, 1, 2, ... as they are judged, uint8 [count, H, W, C]: transparent pixels on the background."""
    parts = range(0, count, GENERATED_AT_ONCE)
    images = []
    for start in track(parts, len(parts), f"generating {count} images, part"):
        seeds = list(range(start, min(start + GENERATED_AT_ONCE, count)))
        images.append(generator.generate(seeds, None if labels is None else labels[seeds])[0])
    return composite(np.concatenate(images), generator.card.background)


def feature_metrics(sample: Sample, extractor: str, device: torch.device) -> dict[str, Any]:
    """KID, FID, precision, recall and diversity, each with its real baseline."""
    real = cached_features(np.concatenate([sample.real_b, sample.real_a]), extractor, device)
    generated = extract_features(sample.generated, extractor, device)
    real_b, real_a = real[: len(generated)], real[len(generated) :]
    scores, real_baseline = distribution_metrics(generated, real_a), distribution_metrics(real_b, real_a)
    metrics: dict[str, Any] = {}
    for name, needed in MIN_IMAGES.items():
        omitted = Omitted(f"needs at least {2 * needed} images in the data")
        metrics |= {name: scores.get(name, omitted), f"{name}_of_real": real_baseline.get(name, omitted)}
    has_pairs = np.bincount(sample.labels).max() > 1
    for name, features in (("diversity", generated), ("diversity_of_real", real_b)):
        metrics[name] = (
            intra_class_diversity(features, sample.labels)
            if has_pairs
            else Omitted("needs two images of one class among those that are compared")
        )
    return metrics


def memorisation_metrics(
    memorised: float | None, sample: Sample, images: NDArray[np.uint8], distances: NDArray[np.float32]
) -> dict[str, Any]:
    """Share of near-copies of training images and distance to the nearest ones, with the real baselines.

    memorised: from the model card, where `export` wrote it. distances: [N], of the generated images to their nearest
    training images.
    """
    _, real_b_distances = nearest_neighbours(sample.real_b, images, exclude=sample.real_b_index)
    metrics: dict[str, Any] = {
        "nearest_training": float(np.median(distances)),
        "nearest_training_of_real": (
            float(np.median(real_b_distances)) if len(images) > 1 else Omitted("needs at least 2 images in the data")
        ),
    }
    if len(images) < MIN_TRAINING_IMAGES:
        omitted = Omitted(f"needs at least {MIN_TRAINING_IMAGES} images in the data")
        return metrics | dict.fromkeys(("memorised", "memorised_of_real"), omitted)
    real, index = sample.real_b[:COPY_TEST_IMAGES], sample.real_b_index[:COPY_TEST_IMAGES]
    metrics["memorised"] = (
        Omitted("needs a model card with it: export the model again") if memorised is None else memorised
    )
    metrics["memorised_of_real"] = float(near_copies(real, images, exclude=index).mean())
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
    """Class coverage and class agreement, by a classifier trained on the real images."""
    classes = len(manifest.classes)
    names = ["classifier_accuracy", "class_coverage", *(["class_agreement"] if generator.card.classes else [])]
    if np.bincount(labels).max() == 1:
        return dict.fromkeys(names, Omitted("needs two images of a class: one to train on and one to test on"))
    classifier, accuracy = train_classifier(images, labels, classes, params.classifier_epochs, device)
    metrics: dict[str, Any] = {
        "classifier_accuracy": accuracy,
        "class_coverage": class_coverage(classify(classifier, sample.generated), labels),
    }
    if generator.card.classes:
        count = max(AGREEMENT_IMAGES, classes)
        requested = np.arange(count) % classes
        agrees = classify(classifier, generate_opaque(generator, count, requested)) == requested
        metrics["class_agreement"] = float(agrees.mean())
        metrics["class_agreement_by_class"] = {
            name: float(agrees[requested == label].mean()) for label, name in enumerate(manifest.classes)
        }
    return metrics


def write_comparison_grid(sample: Sample, neighbours: NDArray[np.uint8], classes: int) -> None:
    """Write three panels: real images, generated images, and the training image nearest to each generated one.

    One row per class when the model has classes, so that the panels can be compared row by row.
    """
    rows = min(classes, 10) or GRID_COLUMNS
    chosen: list[int] = []
    for row in range(rows):
        members = np.flatnonzero(sample.labels == row) if classes else np.arange(row * GRID_COLUMNS, len(sample.labels))
        # A class with too few images repeats them, which keeps the rows below aligned.
        chosen += np.resize(members, GRID_COLUMNS).tolist() if len(members) else [0] * GRID_COLUMNS
    panels = [contact_sheet(images[chosen], GRID_COLUMNS) for images in (sample.real_b, sample.generated, neighbours)]
    gutter = np.full((panels[0].shape[0], 16, panels[0].shape[2]), 255, np.uint8)
    grid = np.concatenate([panels[0], gutter, panels[1], gutter, panels[2]], axis=1)
    with atomic_write(paths.CANDIDATE_GRID) as path:
        path.write_bytes(encode(grid, "png"))


def split_omitted(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics that strict JSON can represent, with the reason for each of the others under `omitted`."""
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


def copy_warning(metrics: dict[str, Any]) -> str:
    """The sentence about a model that copies training images."""
    return (
        f"warning: {metrics['memorised']:.0%} of its images are near-copies of training images (of the real images "
        f"{metrics['memorised_of_real']:.0%} are of one another), and may not be yours to publish; add images, set "
        "stabilise.augment in params.yaml to diffaugment, or train for a shorter time"
    )


def summary(metrics: dict[str, Any]) -> str:
    """One line with the main metrics."""
    # Only figures from Inception may be named without the extractor.
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
        parts.append(f"left out: {', '.join(names)} (reasons in {paths.CANDIDATE_METRICS})")
    images = f"{metrics['images']} image{'s' if metrics['images'] > 1 else ''}"
    return f"evaluated {paths.CANDIDATE_MODEL} on {images}{qualifier}: {'  '.join(parts)}; grid {paths.CANDIDATE_GRID}"


if __name__ == "__main__":
    run_stage(main)
