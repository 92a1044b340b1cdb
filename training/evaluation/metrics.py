"""Metrics of generated images: pure functions of features, pixels and class predictions."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate
from torch_fidelity.metric_prc import prc_features_to_metric

from training.progress import track

KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000
NEIGHBOURHOOD = 3  # k of the k-nearest-neighbour balls (Kynkaanniemi et al. 2019)
NEIGHBOUR_SIDE = 32  # pixels; larger images are downscaled to this side
BLOCK_IMAGES = 1024  # training images compared at a time
COVERAGE_THRESHOLD = 0.2  # a class is covered when generated at this fraction of its frequency in the data or more
# Images needed in each of the two sets, by metric of `distribution_metrics`.
MIN_IMAGES = {
    "kid": 4,  # subsets of two, which are half of the images
    "kid_std": 4,
    "fid": 2,  # a covariance
    "precision": NEIGHBOURHOOD + 1,
    "recall": NEIGHBOURHOOD + 1,
}


def distribution_metrics(images: Tensor, reference: Tensor) -> dict[str, float]:
    """KID, FID, precision and recall of features [N, D] against reference features [M, D].

    Figures that N or M is too small for are left out; see MIN_IMAGES.
    kid: 0 is perfect; unbiased, so it can fall just below 0 (Binkowski et al. 2018). kid_std: over random subsets of
    at most half of the images, as subsets of all images would be identical.
    fid: 0 is perfect; biased upward at small N (Heusel et al. 2017).
    precision: fraction of the images inside the reference manifold, 0..1; recall: fraction of the reference inside the
    manifold of the images, 0..1 (Kynkaanniemi et al. 2019).
    """
    count = min(len(images), len(reference))
    metrics: dict[str, float] = {}
    if count >= MIN_IMAGES["kid"]:
        estimates = squared_mmds(images, reference, min(KID_SUBSET_SIZE, count // 2))
        metrics |= {"kid": estimates.mean().item(), "kid_std": estimates.std(correction=0).item()}
    if count >= MIN_IMAGES["fid"]:
        metrics["fid"] = frechet_distance(images, reference)
    if count >= MIN_IMAGES["precision"]:
        prc = prc_features_to_metric(images, reference, prc_neighborhood=NEIGHBOURHOOD, verbose=False)
        metrics |= {name: prc[name] for name in ("precision", "recall")}
    return metrics


def squared_mmds(images: Tensor, reference: Tensor, size: int) -> Tensor:
    """Unbiased squared MMD between random subsets of `size` features: float64 [KID_SUBSETS] (Binkowski et al. 2018).

    images, reference: [N, D], [M, D]. The kernel (x . y / D + 1)^3 is evaluated once for all subsets, which
    torch-fidelity, whose subsets these are, does for each: the same figures in a fraction of the time.
    """
    stream = np.random.RandomState(0)
    # A subset is a row of ones and zeros, so that sums over pairs of its members are products of matrices.
    chosen, chosen_reference = (torch.zeros(KID_SUBSETS, len(features)).double() for features in (images, reference))
    for row, reference_row in zip(chosen, chosen_reference, strict=True):
        for members in (row, reference_row):
            members[stream.choice(len(members), size, replace=False)] = 1
    within = _sum_of_pairs(images, chosen) + _sum_of_pairs(reference, chosen_reference)
    between = (chosen @ _polynomial_kernel(images, reference) * chosen_reference).sum(1)
    return within / (size * (size - 1)) - 2 * between / size**2


def _sum_of_pairs(features: Tensor, chosen: Tensor) -> Tensor:
    """Sum of the kernel over all pairs of different members of each subset: [KID_SUBSETS]."""
    kernel = _polynomial_kernel(features, features)
    return (chosen @ kernel * chosen).sum(1) - chosen @ kernel.diagonal()


def _polynomial_kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x.double() @ y.double().T / x.shape[1] + 1) ** 3


def frechet_distance(images: Tensor, reference: Tensor) -> float:
    """|mean - mean'|^2 + tr(S + S' - 2 (S S')^1/2) of features [N, D] and [M, D] (Heusel et al. 2017).

    With S = R R^T, S S' has the eigenvalues of R^T S' R, which is symmetric: they are found faster and more precisely.
    """
    images, reference = images.double(), reference.double()
    covariance, reference_covariance = images.T.cov(), reference.T.cov()
    variances, axes = torch.linalg.eigh(covariance)
    root = axes * variances.clamp_min(0).sqrt()
    overlap = torch.linalg.eigvalsh(root.T @ reference_covariance @ root).clamp_min(0).sqrt().sum()
    shift = (images.mean(0) - reference.mean(0)).square().sum()
    distance: Tensor = shift + covariance.trace() + reference_covariance.trace() - 2 * overlap
    return distance.item()


def intra_class_diversity(features: Tensor, labels: NDArray[np.int64]) -> float:
    """Mean distance between two images of the same class, averaged over all classes with at least two images.

    features: [N, D]; labels: [N], all equal without classes; at least one class needs two images. A generator that
    collapsed to one image per class scores 0, however many classes there are.
    """
    means = []
    for label in np.unique(labels):
        members = features[torch.from_numpy(labels == label)]
        if len(members) > 1:
            means.append(torch.pdist(members).mean())
    return torch.stack(means).mean().item()


def effective_rank(features: Tensor, labels: NDArray[np.int64]) -> float:
    """Number of directions in which images of a class differ: (tr C)^2 / tr C^2 of the covariance within classes.

    features: [N, D]; labels: [N]. The participation ratio of the eigenvalues: 1 for images along a line, whatever
    their distances, which diversity alone does not show.
    """
    centred = features.double()
    for label in np.unique(labels):
        members = torch.from_numpy(labels == label)
        centred[members] = centred[members] - centred[members].mean(0)
    gram = centred @ centred.T  # has the same non-zero eigenvalues as the covariance, times N
    squares: Tensor = gram.square().sum()
    return (gram.trace().square() / squares).item() if squares > 0 else 0.0


def nearest_distances(features: Tensor) -> NDArray[np.float32]:
    """Distance of each of features [N, D] to its nearest other one: [N]."""
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    distances.fill_diagonal_(torch.inf)
    nearest: NDArray[np.float32] = distances.min(dim=1).values.numpy()
    return nearest


def nearest_neighbours(
    images: NDArray[np.uint8], training: NDArray[np.uint8], exclude: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Nearest training image to each image, mirrored or not.

    images: [N, H, W, C]; training: [M, H, W, C]. exclude: [N], one index to ignore for each image (its own, when the
    images are training images themselves). Returns the indices [N] and the distances [N] as RMS pixel difference in
    0..1; infinite where no training image is left.
    """
    queries = [_downscaled_pixels(images), _downscaled_pixels(images[:, :, ::-1])]
    nearest = torch.full((len(images),), torch.inf)
    index = torch.zeros(len(images), dtype=torch.int64)
    blocks = range(0, len(training), BLOCK_IMAGES)
    for start in track(blocks, len(blocks), f"nearest training images of {len(images)}, block"):
        block = _downscaled_pixels(training[start : start + BLOCK_IMAGES])
        distances = torch.minimum(*(torch.cdist(query, block) for query in queries))
        if exclude is not None:
            own = torch.from_numpy(exclude) - start
            inside = (own >= 0) & (own < len(block))
            distances[inside, own[inside]] = torch.inf
        block_nearest, block_index = distances.min(dim=1)
        nearer = block_nearest < nearest
        nearest[nearer], index[nearer] = block_nearest[nearer], block_index[nearer] + start
    return index.numpy(), (nearest / queries[0].shape[1] ** 0.5).numpy()


def class_coverage(predicted: NDArray[np.int64], actual: NDArray[np.int64]) -> float:
    """Fraction of the classes that are generated at least a fifth as often as they occur in the data, 0..1.

    predicted: [N], a classifier's predictions for generated images; actual: [M], labels of the data.
    """
    classes = np.unique(actual)
    covered = [(predicted == label).mean() >= COVERAGE_THRESHOLD * (actual == label).mean() for label in classes]
    return float(np.mean(covered))


def _downscaled_pixels(images: NDArray[np.uint8]) -> Tensor:
    """float32 [N, pixels] in 0..1, at most 32 px a side: near-copies are near at any resolution."""
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255
    if max(pixels.shape[-2:]) > NEIGHBOUR_SIDE:
        pixels = interpolate(pixels, (NEIGHBOUR_SIDE, NEIGHBOUR_SIDE), mode="area")
    return pixels.flatten(1)
