"""Batches: shuffling, resuming, scaling, flips, rotations, and errors for unusable data."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from serving.errors import MintError
from tests.training.project import Project, invented_manifest, tiny_params
from training import paths
from training.data.batches import (
    TrainingData,
    class_tag_matrix,
    load_training_data,
    premultiply,
    rotate,
    unpremultiply,
)
from training.data.manifest import data_sha256

CPU = torch.device("cpu")


def numbered(count: int) -> TrainingData:
    images = torch.arange(count, dtype=torch.uint8).reshape(count, 1, 1, 1).expand(count, 1, 4, 4)
    return TrainingData(images, torch.arange(count), CPU)


def test_an_epoch_shows_every_image_once_and_the_next_one_in_another_order() -> None:
    data = numbered(12)
    first, second = (torch.cat(list(islice(data.batch_indices(start, 4, seed=0), 3))) for start in (0, 3))
    assert sorted(first.tolist()) == list(range(12))
    assert sorted(second.tolist()) == list(range(12))
    assert first.tolist() != second.tolist()


def test_the_order_can_be_resumed_at_any_batch() -> None:
    data = numbered(11)
    unbroken = [chosen.tolist() for chosen in islice(data.batch_indices(0, 3, seed=5), 9)]
    resumed = [chosen.tolist() for chosen in islice(data.batch_indices(4, 3, seed=5), 5)]
    assert resumed == unbroken[4:]


def test_pixels_are_scaled_to_minus_one_to_one() -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1)
    real, labels = TrainingData(images, torch.tensor([3, 4]), CPU).batch(
        torch.tensor([1, 0]), horizontal_flip=0, rotation=0
    )
    assert real.flatten().tolist() == [1.0, -1.0]
    assert labels.tolist() == [4, 3]


def test_horizontal_flip_is_the_share_of_mirrored_images() -> None:
    torch.manual_seed(0)
    left_to_right = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 1, 2).expand(4000, 1, 1, 2)
    data = TrainingData(left_to_right, torch.zeros(4000, dtype=torch.int64), CPU)
    mirrored = data.batch(torch.arange(4000), horizontal_flip=0.25, rotation=0)[0][:, 0, 0, 0] == 1
    assert mirrored.float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_images_are_rotated_only_when_rotation_is_set() -> None:
    bar = torch.zeros(200, 1, 9, 9, dtype=torch.uint8)
    bar[:, :, 4, :] = 255  # a bright row, which leaves its place when it is turned
    data = TrainingData(bar, torch.zeros(200, dtype=torch.int64), CPU)
    straight, turned = (data.batch(torch.arange(200), 0.0, rotation=degrees)[0] for degrees in (0.0, 30.0))
    assert torch.equal(straight, bar / 127.5 - 1)
    assert (turned[:, 0, 2, :].amax(dim=1) > 0).float().mean() > 0.3
    assert turned.min() >= -1 - 1e-6
    assert turned.mean().item() == pytest.approx(straight.mean().item(), abs=0.05)


def test_batches_follow_the_order_and_can_be_resumed_at_any_of_them() -> None:
    data, params = numbered(12), tiny_params(train={"batch": 4, "seed": 3}).train
    unbroken = [(images, labels) for images, labels in islice(data.batches(0, params), 7)]
    for (images, labels), chosen in zip(unbroken, data.batch_indices(0, 4, seed=3), strict=False):
        assert torch.equal(labels, chosen)
        assert torch.equal(images, data.batch(chosen, 0, 0)[0])
    resumed = [labels.tolist() for _, labels in islice(data.batches(5, params), 2)]
    assert resumed == [labels.tolist() for _, labels in unbroken[5:]]


def test_batches_are_mirrored_and_rotated_as_params_say() -> None:
    params = tiny_params(train={"batch": 2, "horizontal_flip": 1.0, "rotation": 0.0}).train
    left_to_right = torch.tensor([0, 255], dtype=torch.uint8).expand(2, 1, 1, 2)
    images, _ = next(TrainingData(left_to_right, torch.zeros(2, dtype=torch.int64), CPU).batches(0, params))
    assert images.tolist() == [[[[1, -1]]], [[[1, -1]]]]


def test_an_epoch_counts_only_complete_batches() -> None:
    assert numbered(11).images_per_epoch(4) == 8
    assert numbered(12).images_per_epoch(4) == 12


def test_the_tag_matrix_follows_the_manifest() -> None:
    manifest = invented_manifest(("red", "sad"), ("sad",), ("blue", "red"))
    tags = class_tag_matrix(tiny_params(), manifest)
    assert tags is not None
    assert tags.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]


@pytest.mark.parametrize(("condition", "classes"), [("none", (("red",), ("blue",))), ("projection", ())])
def test_unconditional_training_has_no_tag_matrix(condition: str, classes: tuple[tuple[str, ...], ...]) -> None:
    assert class_tag_matrix(tiny_params(network={"condition": condition}), invented_manifest(*classes)) is None


@pytest.mark.parametrize(("classes", "has"), [((("red",),), "one"), ((), "none")])
def test_mismatched_labels_need_two_classes(classes: tuple[tuple[str, ...], ...], has: str) -> None:
    with pytest.raises(MintError) as error:
        class_tag_matrix(tiny_params(objective={"mismatched": True}), invented_manifest(*classes))
    assert str(error.value) == (
        f"params.yaml: objective.mismatched needs two classes and the data has {has}; set it to false"
    )


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (5, "5 training images and train.batch is 64; lower train.batch to 5"),
        (1, "one training image, and a batch needs at least two; add images"),
    ],
)
def test_fewer_images_than_a_batch_give_an_error_with_a_remedy(project: Project, images: int, sentence: str) -> None:
    paths.PREPARED.mkdir(parents=True)
    np.save(paths.IMAGES, np.zeros((images, 28, 28, 1), np.uint8))
    np.save(paths.LABELS, np.zeros(images, np.int64))
    manifest = invented_manifest(images=images, data_sha256=data_sha256())
    with pytest.raises(MintError, match=sentence):
        load_training_data(manifest, CPU, batch_size=64)


@pytest.mark.parametrize("path", [paths.IMAGES, paths.LABELS])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "bit flipped"])
def test_damaged_arrays_are_refused_before_they_are_trained_on(project: Project, path: Path, damage: str) -> None:
    paths.PREPARED.mkdir(parents=True)
    np.save(paths.IMAGES, np.zeros((4, 28, 28, 1), np.uint8))
    np.save(paths.LABELS, np.zeros(4, np.int64))
    manifest = invented_manifest(images=4, data_sha256=data_sha256())
    assert len(load_training_data(manifest, CPU, batch_size=2)) == 4
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"empty": b"", "cut": content[:-1], "bit flipped": content[:-1] + b"\1"}[damage])
    with pytest.raises(MintError) as error:
        load_training_data(manifest, CPU, batch_size=2)
    assert "data/prepared/" in str(error.value)
    assert str(error.value).endswith("and run `dvc repro` (or python -m training.preprocess) to prepare them again")


def test_rotation_by_0_is_the_identity() -> None:
    images = torch.rand(4, 3, 16, 16) * 2 - 1
    assert torch.equal(rotate(images, 0), images)
    torch.testing.assert_close(rotate(images, 1e-6), images, atol=1e-4, rtol=0)


@pytest.mark.parametrize("degrees", [45, 90, 180])
def test_rotation_leaves_no_black_corner(degrees: float) -> None:
    ones = torch.ones(100, 3, 28, 28)
    torch.testing.assert_close(rotate(ones, degrees), ones, atol=1e-5, rtol=0)


def test_each_image_turns_by_its_own_angle_within_the_limit() -> None:
    ramp = torch.arange(16.0).expand(1000, 1, 16, 16)  # its slope tells the angle
    turned = rotate(ramp, 30)[:, 0]
    angle = torch.atan2(turned[:, 8, 7] - turned[:, 7, 7], turned[:, 7, 8] - turned[:, 7, 7]).rad2deg()
    assert -30.01 <= angle.min() < -29.5
    assert 29.5 < angle.max() <= 30.01
    assert angle.mean().item() == pytest.approx(0, abs=2)


def test_rotation_turns_an_oblong_image_without_shearing_it() -> None:
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(40.0), indexing="ij")
    turned = rotate(torch.stack((x, y))[None].repeat(50, 1, 1, 1), 30)
    right, down = (turned[:, :, 10, 21] - turned[:, :, 10, 20], turned[:, :, 11, 20] - turned[:, :, 10, 20])
    for step in (right, down):
        torch.testing.assert_close(step.norm(dim=1), torch.ones(50), atol=1e-3, rtol=0)


def test_rotation_follows_the_seed_and_leaves_its_input_as_it_was() -> None:
    images = torch.rand(10, 3, 16, 16)
    before, turned = images.clone(), []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        turned.append(rotate(images, 10))
    assert torch.equal(images, before)
    assert torch.equal(turned[0], turned[1])
    assert not torch.equal(turned[0], turned[2])


def test_rotation_does_not_mix_the_colour_of_transparent_pixels_into_edges() -> None:
    sprite = torch.full((100, 4, 20, 20), -1.0)
    sprite[:, :, 4:16, 4:16] = 1.0  # a white square on nothing
    turned = rotate(sprite, 30)
    colours, alpha = turned[:, :3], turned[:, 3:].expand(-1, 3, -1, -1)
    assert ((alpha > -0.9) & (alpha < 0.9)).any()  # soft edges
    assert colours[alpha > -0.9].min() > 0.99
    assert (colours[alpha == -1] == -1).all()


def test_unpremultiply_undoes_premultiply_wherever_something_can_be_seen() -> None:
    images = torch.rand(10, 4, 8, 8) * 2 - 1
    torch.testing.assert_close(unpremultiply(premultiply(images)), images, atol=1e-3, rtol=0)
