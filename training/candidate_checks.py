"""Checks of a candidate before it is served: constant output, collapse, and a fall behind the served model.

Each returns the reason not to serve the candidate as the rest of a sentence about it, or None.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from serving.inference.generator import OnnxGenerator
from serving.inference.latents import Images
from training.param_sections import PromoteParams

PROBED_CLASSES = 8
PROBED_SEEDS = 16  # of each class
MIN_CONTRAST = 1.0  # of 255: standard deviation over the pixels of an image
MIN_CHANGE = 0.5  # of 255: mean deviation of an image from the average of its class
KID_NOISE = 2  # standard deviations of KID: a smaller difference is chance
POOR = 0.25  # share of the real images' precision or recall below which a model is called poor, though it is served

Metrics = dict[str, Any]


def find_defect(generator: OnnxGenerator, metrics: Metrics, params: PromoteParams) -> str | None:
    """Why a candidate cannot be used whatever is served now; None for a sound one."""
    return constant_output(probe_images(generator)) or collapse(metrics, params)


def probe_images(generator: OnnxGenerator) -> Images:
    """Images uint8 [K, S, H, W, C] of the same S seeds for each of the first K classes; K is 1 without classes."""
    classes = min(len(generator.card.classes), PROBED_CLASSES) or 1
    labels = np.arange(classes).repeat(PROBED_SEEDS) if generator.card.classes else None
    images, _ = generator.generate(list(range(PROBED_SEEDS)) * classes, labels)
    return images.reshape(classes, PROBED_SEEDS, *images.shape[1:])


def constant_output(images: Images) -> str | None:
    """The reason for images [K, S, H, W, C], of K classes and S seeds, of one colour each or alike for all seeds.

    Needs no real images, so it holds for data of any size.
    """
    pixels = images.astype(np.float32)
    contrast = float(np.median(pixels.std(axis=(2, 3)).max(axis=-1)))
    if contrast < MIN_CONTRAST:
        return f"its images are of one colour each (contrast {contrast:.1f} of 255)"
    change = float(np.abs(pixels - pixels.mean(axis=1, keepdims=True)).mean())
    if change < MIN_CHANGE:
        return f"it makes the same image of every seed (they differ by {change:.1f} of 255)"
    return None


def collapse(metrics: Metrics, params: PromoteParams) -> str | None:
    """The reason for metrics below the bounds in params.yaml; those that `evaluate` left out are skipped."""
    diversity = diversity_share(metrics)
    if diversity is not None and diversity < params.min_diversity:
        return (
            f"it has collapsed: its images differ by {diversity:.0%} of what real ones do "
            f"(promote.min_diversity: {params.min_diversity:.0%})"
        )
    for name, minimum, meaning in (
        ("precision", params.min_precision, "of its images look like real ones"),
        ("recall", params.min_recall, "of the real images are covered by its own"),
    ):
        if name in metrics and metrics[name] < minimum:
            return f"{metrics[name]:.1%} {meaning} ({name}; promote.min_{name}: {minimum:.1%})"
    return None


def fall_behind(candidate: Metrics, served: Metrics, tolerance: float) -> str | None:
    """The reason for a candidate that is worse than the served model by more than `promote.tolerance`.

    Both must have been measured on the same data. KID has to be worse by more than its noise, too.
    """
    if any(candidate.get(key) != served.get(key) for key in ("extractor", "images")):
        return None
    if "kid" in candidate and "kid" in served:
        noise = KID_NOISE * max(metrics.get("kid_std", 0.0) for metrics in (candidate, served))
        if candidate["kid"] - served["kid"] > max(noise, tolerance * served["kid"]):
            return _worse("KID", candidate["kid"], served["kid"], "{:.4f}".format, tolerance)
    if "class_agreement" in candidate and "class_agreement" in served:
        now, before = candidate["class_agreement"], served["class_agreement"]
        if before - now > tolerance * before:
            return _worse("class agreement", now, before, "{:.0%}".format, tolerance)
    return None


def _worse(name: str, now: float, before: float, show: Callable[[float], str], tolerance: float) -> str:
    return (
        f"on the same data it has a {name} of {show(now)} and the served model {show(before)} "
        f"(promote.tolerance: {tolerance:.0%})"
    )


def shortcomings(metrics: Metrics) -> str | None:
    """What is still poor about a model that is served; None for one that is not."""
    poor = [
        f"{name} {metrics[name]:.2f}, real images {metrics[f'{name}_of_real']:.2f}"
        for name in ("precision", "recall")
        if metrics.get(name, 1.0) < POOR * metrics.get(f"{name}_of_real", 0.0)
    ]
    return "; ".join(poor) or None


def diversity_share(metrics: Metrics) -> float | None:
    """Diversity as a share of the real images'; None if it was not measured, or all real images are equal."""
    if "diversity" not in metrics or not metrics.get("diversity_of_real"):
        return None
    share: float = metrics["diversity"] / metrics["diversity_of_real"]
    return share
