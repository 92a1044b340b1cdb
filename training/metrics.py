"""Figures of merit: pure functions of features, pixels and class predictions."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000
NEIGHBOURHOOD = 3  # k of the k-nearest-neighbour balls (Kynkaanniemi et al. 2019)
NEIGHBOUR_SIDE = 32  # pixels; larger images are compared at this side
COVERED_SHARE = 0.2  # a class counts as covered from this share of its frequency in the data


@dataclass(frozen=True)
class Distances:
    """How far one set of images is from another, seen through an extractor."""

    kid: float  # 0 is perfect; unbiased, so it can fall just below 0
    kid_std: float  # over the subsets
    fid: float  # 0 is perfect; biased upward at small N
    precision: float  # share of the first set that lies within the second, 0..1
    recall: float  # share of the second set that the first one reaches, 0..1


def distances(images: Tensor, reference: Tensor) -> Distances:
    """Compares features [N, D] with reference features [M, D].

    KID: Binkowski et al. 2018. FID: Heusel et al. 2017. Precision and recall: Kynkaanniemi et al. 2019.
    """
    subset = min(KID_SUBSET_SIZE, len(images), len(reference))
    kid = kid_features_to_metric(
        images, reference, kid_subsets=KID_SUBSETS, kid_subset_size=subset, rng_seed=0, verbose=False
    )
    statistics = [fid_features_to_statistics(features) for features in (images, reference)]
    fid = fid_statistics_to_metric(*statistics, verbose=False)
    prc = prc_features_to_metric(images, reference, prc_neighborhood=NEIGHBOURHOOD, verbose=False)
    return Distances(
        kid=kid["kernel_inception_distance_mean"],
        kid_std=kid["kernel_inception_distance_std"],
        fid=fid["frechet_inception_distance"],
        precision=prc["precision"],
        recall=prc["recall"],
    )


def pairwise_diversity(features: Tensor, labels: NDArray[np.int64]) -> float:
    """The mean distance between two images of one class, over all classes with at least two.

    features: [N, D]; labels: [N], all equal where there are no classes. A generator that makes one image a
    class scores 0, however many classes there are.
    """
    means = []
    for label in np.unique(labels):
        members = features[torch.from_numpy(labels == label)]
        if len(members) > 1:
            means.append(torch.pdist(members).mean())
    return torch.stack(means).mean().item()


def nearest_neighbours(
    images: NDArray[np.uint8], training: NDArray[np.uint8], exclude: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each image the nearest training image: its index, and its distance as RMS pixel difference in 0..1.

    images: [N, H, W, C]; training: [M, H, W, C]. exclude: [N], an index that may not be the answer for each
    image (its own, when the images are training images themselves).
    """
    wanted = _small_pixels(images)
    best = torch.full((len(wanted),), torch.inf)
    index = torch.zeros(len(wanted), dtype=torch.int64)
    for start in range(0, len(training), 4096):
        block = _small_pixels(training[start : start + 4096])
        gaps = torch.cdist(wanted, block)
        if exclude is not None:
            own = torch.from_numpy(exclude) - start
            inside = (own >= 0) & (own < len(block))
            gaps[inside, own[inside]] = torch.inf
        found, where = gaps.min(dim=1)
        nearer = found < best
        best[nearer], index[nearer] = found[nearer], where[nearer] + start
    return index.numpy(), (best / wanted.shape[1] ** 0.5).numpy()


def covered_classes(predicted: NDArray[np.int64], actual: NDArray[np.int64]) -> float:
    """The share of the data's classes that appear at least a fifth as often as they do in the data, 0..1.

    predicted: [N], a classifier's view of generated images; actual: [M], labels of the data.
    """
    classes = np.unique(actual)
    found = [(predicted == label).mean() >= COVERED_SHARE * (actual == label).mean() for label in classes]
    return float(np.mean(found))


def _small_pixels(images: NDArray[np.uint8]) -> Tensor:
    """float32 [N, pixels] in 0..1, at 32 px at most: near-copies are near at any size."""
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255
    if pixels.shape[-1] > NEIGHBOUR_SIDE:
        pixels = interpolate(pixels, (NEIGHBOUR_SIDE, NEIGHBOUR_SIDE), mode="area")
    return pixels.flatten(1)
