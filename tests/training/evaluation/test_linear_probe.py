"""Linear probe: it recognises classes that features separate, and its accuracy is that of images it has not seen."""

import pytest
import torch

from training.evaluation.linear_probe import LinearProbe

CLASSES, DIMENSIONS = 4, 300


def blobs(count: int, spread: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features around a centre for each class, and their labels."""
    centres = torch.randn(CLASSES, DIMENSIONS, generator=torch.Generator().manual_seed(0))
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=rng)
    return centres[labels] + spread * torch.randn(count, DIMENSIONS, generator=rng), labels


def test_separate_classes_are_recognised() -> None:
    probe = LinearProbe(*blobs(200, 0.5, 1), CLASSES)
    features, labels = blobs(100, 0.5, 2)
    assert probe.accuracy == 1.0
    assert (probe.predict(features) == labels).all()


@pytest.mark.parametrize("spread", [2.0, 6.0])
def test_the_accuracy_is_that_of_unseen_images(spread: float) -> None:
    probe = LinearProbe(*blobs(300, spread, 1), CLASSES)
    features, labels = blobs(2000, spread, 2)
    unseen = (probe.predict(features) == labels).double().mean().item()
    assert probe.accuracy == pytest.approx(unseen, abs=0.08)


def test_leaving_one_out_equals_fitting_without_it() -> None:
    features, labels = blobs(40, 4.0, 1)
    probe = LinearProbe(features, labels, CLASSES)
    right = []
    for index in range(40):
        others = torch.arange(40) != index
        without = LinearProbe(features[others], labels[others], CLASSES)
        right.append(bool(without.predict(features[[index]]) == labels[index]))
    assert probe.accuracy == pytest.approx(sum(right) / 40, abs=0.05)  # the mean and the ridge change a little


def test_shuffled_labels_are_at_chance() -> None:
    features, labels = blobs(400, 0.5, 1)
    shuffled = labels[torch.randperm(400, generator=torch.Generator().manual_seed(3))]
    assert LinearProbe(features, shuffled, CLASSES).accuracy < 0.35
