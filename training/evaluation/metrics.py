"""Figures of merit: pure functions of features, pixels and class predictions."""

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
MEMORISED_PERCENTILE = 1
COPY_DISTANCE = 1 / 255  # RMS difference of one grey level: whatever the data, nearer than this is a copy
NEIGHBOUR_SIDE = 32  # pixels; larger images are compared at this side
COVERAGE_THRESHOLD = 0.2  # a class counts as covered from this share of its frequency in the data


# The images on each side without which a figure of `distances` is none.
MIN_IMAGES = {
    "kid": 4,  # subsets of two, which are half of the images
    "kid_std": 4,
    "fid": 2,  # a covariance
    "precision": NEIGHBOURHOOD + 1,
    "recall": NEIGHBOURHOOD + 1,
}


def distribution_metrics(images: Tensor, reference: Tensor) -> dict[str, float]:
    """How far features [N, D] are from reference features [M, D], in those figures that N and M suffice for.

    kid: 0 is perfect; unbiased, so it can fall just below 0 (Binkowski et al. 2018). kid_std: over random subsets of
    at most half of the images; were a subset the whole set, every one would be the same.
    fid: 0 is perfect; biased upward at small N (Heusel et al. 2017).
    precision: the share of the images that lie within the reference, 0..1; recall: the share of the reference that the
    images reach, 0..1 (Kynkaanniemi et al. 2019).
    """
    count = min(len(images), len(reference))
    found: dict[str, float] = {}
    if count >= MIN_IMAGES["kid"]:
        subset = min(KID_SUBSET_SIZE, count // 2)
        kid = kid_features_to_metric(
            images, reference, kid_subsets=KID_SUBSETS, kid_subset_size=subset, rng_seed=0, verbose=False
        )
        found["kid"] = kid["kernel_inception_distance_mean"]
        found["kid_std"] = kid["kernel_inception_distance_std"]
    if count >= MIN_IMAGES["fid"]:
        statistics = [fid_features_to_statistics(features) for features in (images, reference)]
        found["fid"] = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    if count >= MIN_IMAGES["precision"]:
        prc = prc_features_to_metric(images, reference, prc_neighborhood=NEIGHBOURHOOD, verbose=False)
        found |= {name: prc[name] for name in ("precision", "recall")}
    return found


def intra_class_diversity(features: Tensor, labels: NDArray[np.int64]) -> float:
    """The mean distance between two images of one class, over all classes with at least two.

    features: [N, D]; labels: [N], all equal where there are no classes, and with two images of at least one class. A
    generator that makes one image a class scores 0, however many classes there are.
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
    """For each image the nearest training image or mirrored training image.

    images: [N, H, W, C]; training: [M, H, W, C]. exclude: [N], an index that may not be the answer for each
    image (its own, when the images are training images themselves). Returns its index, and its distance as RMS pixel
    difference in 0..1; infinite where nothing was left to be near to.
    """
    wanted = [_downscaled_pixels(images), _downscaled_pixels(images[:, :, ::-1])]
    best = torch.full((len(images),), torch.inf)
    index = torch.zeros(len(images), dtype=torch.int64)
    for start in range(0, len(training), 4096):
        block = _downscaled_pixels(training[start : start + 4096])
        gaps = torch.minimum(*(torch.cdist(either, block) for either in wanted))
        if exclude is not None:
            own = torch.from_numpy(exclude) - start
            inside = (own >= 0) & (own < len(block))
            gaps[inside, own[inside]] = torch.inf
        found, where = gaps.min(dim=1)
        nearer = found < best
        best[nearer], index[nearer] = found[nearer], where[nearer] + start
    return index.numpy(), (best / wanted[0].shape[1] ** 0.5).numpy()


def memorised_fraction(gaps: NDArray[np.float32], real_gaps: NDArray[np.float32]) -> float:
    """The share of images as near to a training image as only the nearest hundredth of real ones is, 0..1.

    gaps: [N], distances of `nearest_neighbours`; real_gaps: [M], those of real images to the other training images. A
    model that copies nothing scores near 0.01. After the data-copying test of Meehan et al. 2020, which compares the
    same two sets of distances; a share and not a mean or a median, as these do not show a few copies among many images.
    """
    threshold = max(float(np.percentile(real_gaps, MEMORISED_PERCENTILE)), COPY_DISTANCE)
    return float((gaps <= threshold).mean())


def class_coverage(predicted: NDArray[np.int64], actual: NDArray[np.int64]) -> float:
    """The share of the data's classes that appear at least a fifth as often as they do in the data, 0..1.

    predicted: [N], a classifier's view of generated images; actual: [M], labels of the data.
    """
    classes = np.unique(actual)
    found = [(predicted == label).mean() >= COVERAGE_THRESHOLD * (actual == label).mean() for label in classes]
    return float(np.mean(found))


def _downscaled_pixels(images: NDArray[np.uint8]) -> Tensor:
    """float32 [N, pixels] in 0..1, at 32 px at most: near-copies are near at any size."""
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255
    if pixels.shape[-1] > NEIGHBOUR_SIDE:
        pixels = interpolate(pixels, (NEIGHBOUR_SIDE, NEIGHBOUR_SIDE), mode="area")
    return pixels.flatten(1)
