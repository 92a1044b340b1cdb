"""Class labels from folders, for the layouts that people and tools use."""

from collections.abc import Iterable

import pytest

from tests.training.project import Project, picture
from training.data.sources.class_folders import classes_by_folder, sort_classes


def below(*folders: str, count: int = 2) -> list[str]:
    """Names of `count` images in each folder."""
    return [f"{folder}/{number}.png" for folder in folders for number in range(count)]


def classes(names: Iterable[str]) -> list[str]:
    """Classes found for images of these names."""
    return sorted(set(classes_by_folder(names).values()))


@pytest.mark.parametrize(
    "names",
    [
        below("cat", "dog"),
        below("pets/cat", "pets/dog"),
        below("a/b/c/cat", "a/b/c/dog"),
        below("train/cat", "train/dog", "val/cat", "test/dog"),
        below("Train/cat", "TEST/dog", "Validation/cat"),
        below("training/cat", "testing/dog", "dev/dog", "eval/cat", "valid/dog"),
        below("pets/train_images/cat", "pets/train_images/dog", "pets/val_images/cat"),
        below("seg_train/seg_train/cat", "seg_test/seg_test/dog", "seg_train/seg_train/dog"),
        below("train2017/cat", "test 1/dog", "trainset/dog"),
        below("train/images/cat", "train/images/dog", "test/images/cat"),
        below("data/train/cat", "data/train/dog"),
        below("train/cat", "train/dog", "test/cat", "previews"),  # a folder beside two splits is not a class
        below("train/cat", "train/dog") + below("test", count=9),  # unlabelled
        below("cat/train", "cat/test", "dog/train"),
        [*below("pets/cat", "pets/dog"), "preview.jpg"],
        [*below("pets/cat", "pets/dog"), "preview.jpg", "pets/contents.jpg"],
    ],
)
def test_classes_are_below_wrapper_folders_and_splits(names: list[str]) -> None:
    assert classes(names) == ["cat", "dog"]


@pytest.mark.parametrize(
    "names",
    [
        below("train", "bus", "car"),  # vehicles
        below("train/deep", "bus", "car"),
    ],
)
def test_a_class_may_be_named_like_a_split(names: list[str]) -> None:
    assert classes(names) == ["bus", "car", "train"]


@pytest.mark.parametrize(
    "names",
    [
        ["a.png", "b.png"],
        below("pets"),
        below("train", "val", "test"),
        below("train/pets", "val/pets"),
        [*below("pets"), "preview.jpg"],
        [f"{number // 6:05d}/img{number:08d}.png" for number in range(12)],  # StyleGAN's dataset tool
        [f"{number // 1000 * 1000:05d}/{number:05d}.png" for number in (0, 1, 1000, 1001, 69000)],  # FFHQ
        below("00000", "01000"),
        [f"{number // 10:05d}/{number:09d}.jpg" for number in range(30)],  # img2dataset
        [f"faces/{number // 6:05d}/img{number:08d}.png" for number in range(12)],
    ],
)
def test_shards_splits_and_single_folders_are_not_classes(names: list[str]) -> None:
    assert classes(names) == []


def test_numbered_class_folders_are_not_shards() -> None:
    signs = [f"{sign:05d}/{track:05d}_{frame:05d}.ppm" for sign in range(3) for track in range(2) for frame in range(2)]
    assert classes(signs) == ["00000", "00001", "00002"]
    assert classes(below("00000", "00001")) == ["00000", "00001"]


def test_numeric_classes_are_sorted_numerically() -> None:
    assert sort_classes({str(number) for number in range(1, 13)}) == [str(number) for number in range(1, 13)]
    assert sort_classes({"10", "9", "a"}) == ["10", "9", "a"]


def test_a_stray_image_is_ignored_with_the_reason(project: Project) -> None:
    project.write({name: picture() for name in [*below("flowers/rose", "flowers/tulip"), "preview.png"]})
    manifest = project.prepare(max_skipped=0)
    assert manifest.images_per_class == {"rose": 2, "tulip": 2}
    assert [(kind.kind, kind.examples) for kind in manifest.left_out] == [
        ("pictures in no class folder", ("preview.png",))
    ]


def test_class_folders_that_miss_most_images_are_refused(project: Project) -> None:
    project.write({name: picture() for name in [*below("a", "b"), *(f"{number}.png" for number in range(5))]})
    assert project.open_error() == (
        "5 of 9 pictures lie in no class folder (0.png), beside the classes a, b; move them into class folders, or set "
        "data.labels: none in params.yaml to train on all without classes"
    )
    assert len(project.labels(labels="none")) == 9
