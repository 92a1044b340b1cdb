"""Batches: every image once an epoch, in an order that follows from the seed, in the range of the networks."""

from itertools import islice

import numpy as np
import pytest
import torch

from serving.errors import MintError
from tests.training.project import Project
from training import paths
from training.data import TrainingData, load_training_data

CPU = torch.device("cpu")


def numbered(count: int) -> TrainingData:
    images = torch.arange(count, dtype=torch.uint8).reshape(count, 1, 1, 1).expand(count, 1, 4, 4)
    return TrainingData(images, torch.arange(count), CPU)


def test_an_epoch_shows_every_image_once_and_the_next_one_in_another_order() -> None:
    data = numbered(12)
    first, second = (torch.cat(list(islice(data.order(start, 4, seed=0), 3))) for start in (0, 3))
    assert sorted(first.tolist()) == list(range(12))
    assert sorted(second.tolist()) == list(range(12))
    assert first.tolist() != second.tolist()


def test_the_order_can_be_taken_up_at_any_step() -> None:
    data = numbered(11)
    unbroken = [chosen.tolist() for chosen in islice(data.order(0, 3, seed=5), 9)]
    resumed = [chosen.tolist() for chosen in islice(data.order(4, 3, seed=5), 5)]
    assert resumed == unbroken[4:]


def test_pixels_become_minus_one_to_one() -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1)
    real, labels = TrainingData(images, torch.tensor([3, 4]), CPU).batch(torch.tensor([1, 0]), horizontal_flip=0)
    assert real.flatten().tolist() == [1.0, -1.0]
    assert labels.tolist() == [4, 3]


def test_the_share_of_mirrored_images_is_the_one_asked_for() -> None:
    torch.manual_seed(0)
    left_to_right = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 1, 2).expand(4000, 1, 1, 2)
    data = TrainingData(left_to_right, torch.zeros(4000, dtype=torch.int64), CPU)
    mirrored = data.batch(torch.arange(4000), horizontal_flip=0.25)[0][:, 0, 0, 0] == 1
    assert mirrored.float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_fewer_images_than_a_batch_is_an_error_that_says_what_to_change(project: Project) -> None:
    paths.PREPARED.mkdir(parents=True)
    np.save(paths.IMAGES, np.zeros((5, 28, 28, 1), np.uint8))
    np.save(paths.LABELS, np.zeros(5, np.int64))
    with pytest.raises(MintError, match="5 training images and train.batch is 64; lower train.batch to 5"):
        load_training_data(CPU, batch=64)
