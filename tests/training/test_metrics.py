"""Metrics say what they are read for: same is near zero, other is far, copies and collapse are seen."""

import numpy as np
import pytest
import torch

from training.metrics import covered_classes, distances, nearest_neighbours, pairwise_diversity


def cloud(count: int, shift: float = 0.0, spread: float = 1.0, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)) * spread + shift


def test_two_samples_of_one_distribution_are_near_and_a_shifted_one_is_far() -> None:
    reference, same, shifted = cloud(400, seed=1), cloud(400, seed=2), cloud(400, shift=1.0, seed=3)
    near, far = distances(same, reference), distances(shifted, reference)
    assert abs(near.kid) < 0.1 * far.kid
    assert near.fid < 0.1 * far.fid
    assert near.precision > 0.7
    assert near.recall > 0.7


def test_a_narrow_generator_has_precision_without_recall() -> None:
    narrow = distances(cloud(400, spread=0.3, seed=1), cloud(400, seed=2))
    assert narrow.precision > 0.9
    assert narrow.recall < 0.2


def test_diversity_sees_a_generator_that_makes_one_image_a_class() -> None:
    labels = np.repeat(np.arange(4), 25)
    collapsed = torch.from_numpy(labels).float()[:, None].expand(100, 16) * 10
    assert pairwise_diversity(collapsed, labels) == 0
    assert pairwise_diversity(cloud(100), labels) == pytest.approx(32**0.5, rel=0.1)


def test_a_copied_training_image_is_found_at_distance_zero() -> None:
    training = np.random.RandomState(0).randint(0, 256, (5000, 8, 8, 1)).astype(np.uint8)
    index, gap = nearest_neighbours(training[[4321, 17]], training)
    assert index.tolist() == [4321, 17]
    assert gap.max() < 1e-3


def test_a_training_image_is_not_its_own_neighbour_when_excluded() -> None:
    training = np.array([0, 10, 250], np.uint8).reshape(3, 1, 1, 1)
    index, gap = nearest_neighbours(training, training, exclude=np.arange(3))
    assert index.tolist() == [1, 0, 1]
    assert gap == pytest.approx(np.array([10, 10, 240]) / 255, abs=1e-5)


def test_coverage_is_the_share_of_classes_that_appear_often_enough() -> None:
    data = np.repeat(np.arange(4), 100)
    assert covered_classes(np.repeat([0, 1, 2, 3], 10), data) == 1.0
    assert covered_classes(np.repeat([0, 1], 20), data) == 0.5
    assert covered_classes(np.array([0] * 99 + [1]), data) == 0.25
