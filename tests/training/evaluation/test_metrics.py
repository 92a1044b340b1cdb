"""Metrics on synthetic features and images: equal and shifted distributions, mode collapse, nearest images."""

import math

import numpy as np
import pytest
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from training.evaluation.metrics import (
    MIN_IMAGES,
    class_coverage,
    distribution_metrics,
    intra_class_diversity,
    nearest_neighbours,
)


def cloud(count: int, shift: float = 0.0, spread: float = 1.0, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)) * spread + shift


def test_samples_of_one_distribution_score_far_better_than_a_shifted_one() -> None:
    reference, same, shifted = cloud(400, seed=1), cloud(400, seed=2), cloud(400, shift=1.0, seed=3)
    near, far = distribution_metrics(same, reference), distribution_metrics(shifted, reference)
    assert abs(near["kid"]) < 0.1 * far["kid"]
    assert near["fid"] < 0.1 * far["fid"]
    assert near["precision"] > 0.7
    assert near["recall"] > 0.7


@pytest.mark.parametrize(("count", "size"), [(60, 16), (300, 256)], ids=["16 features", "256 features"])
def test_kid_and_fid_equal_those_of_torch_fidelity(count: int, size: int) -> None:
    stream = torch.Generator().manual_seed(0)
    images, reference = torch.randn(count, size, generator=stream), torch.randn(count + 7, size, generator=stream) * 1.2
    found = distribution_metrics(images, reference)
    kid = kid_features_to_metric(
        images, reference, kid_subsets=100, kid_subset_size=count // 2, rng_seed=0, verbose=False
    )
    statistics = [fid_features_to_statistics(features) for features in (images, reference)]
    assert found["kid"] == pytest.approx(kid["kernel_inception_distance_mean"], rel=1e-3)
    assert found["kid_std"] == pytest.approx(kid["kernel_inception_distance_std"], rel=1e-3)
    fid = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert found["fid"] == pytest.approx(fid, rel=1e-3)


def test_a_narrow_distribution_has_high_precision_and_low_recall() -> None:
    narrow = distribution_metrics(cloud(400, spread=0.3, seed=1), cloud(400, seed=2))
    assert narrow["precision"] > 0.9
    assert narrow["recall"] < 0.2


@pytest.mark.parametrize("count", range(9))
def test_metrics_of_few_images_are_finite_or_left_out(count: int) -> None:
    found = distribution_metrics(cloud(count, seed=1), cloud(8, seed=2))
    assert set(found) == {name for name, needed in MIN_IMAGES.items() if needed <= count}
    assert all(math.isfinite(value) for value in found.values())


def test_kid_std_has_the_size_of_the_scatter_between_samples() -> None:
    """With the whole set as every subset it would be 0."""
    found = [distribution_metrics(cloud(60, seed=2 * n), cloud(60, seed=2 * n + 1)) for n in range(12)]
    scatter = np.std([one["kid"] for one in found])
    assert 0.3 * scatter < np.mean([one["kid_std"] for one in found]) < 6 * scatter


def test_diversity_is_zero_for_one_image_per_class() -> None:
    labels = np.repeat(np.arange(4), 25)
    collapsed = torch.from_numpy(labels).float()[:, None].expand(100, 16) * 10
    assert intra_class_diversity(collapsed, labels) == 0
    assert intra_class_diversity(cloud(100), labels) == pytest.approx(32**0.5, rel=0.1)


def test_a_copied_training_image_is_found_at_distance_zero() -> None:
    training = np.random.RandomState(0).randint(0, 256, (5000, 8, 8, 1)).astype(np.uint8)
    index, distance = nearest_neighbours(training[[4321, 17]], training)
    assert index.tolist() == [4321, 17]
    assert distance.max() < 1e-3


def test_a_training_image_is_not_its_own_neighbour_when_excluded() -> None:
    training = np.array([0, 10, 250], np.uint8).reshape(3, 1, 1, 1)
    index, distance = nearest_neighbours(training, training, exclude=np.arange(3))
    assert index.tolist() == [1, 0, 1]
    assert distance == pytest.approx(np.array([10, 10, 240]) / 255, abs=1e-5)


def test_a_mirrored_copy_is_found_too() -> None:
    training = np.random.RandomState(0).randint(0, 256, (50, 8, 8, 1)).astype(np.uint8)
    index, distance = nearest_neighbours(training[[7]][:, :, ::-1], training)
    assert index.tolist() == [7]
    assert distance.max() < 1e-3


def test_class_coverage_is_the_share_of_classes_that_are_generated_often_enough() -> None:
    data = np.repeat(np.arange(4), 100)
    assert class_coverage(np.repeat([0, 1, 2, 3], 10), data) == 1.0
    assert class_coverage(np.repeat([0, 1], 20), data) == 0.5
    assert class_coverage(np.array([0] * 99 + [1]), data) == 0.25
