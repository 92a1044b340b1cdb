"""Which folders are classes, by the ways in which people and tools lay out pictures."""

import json
from collections.abc import Iterable

import pytest

from tests.training.project import Project, picture
from training.data.sources.class_folders import classes_by_folder, sort_classes


def below(*folders: str, count: int = 2) -> list[str]:
    """Names of some pictures in each folder."""
    return [f"{folder}/{number}.png" for folder in folders for number in range(count)]


def classes(names: Iterable[str]) -> list[str]:
    """The classes of pictures with such names."""
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
        below("train/cat", "train/dog", "test/cat", "previews"),  # what is beside two splits is no class
        below("train/cat", "train/dog") + below("test", count=9),  # nobody knows the classes of these
        below("cat/train", "cat/test", "dog/train"),
        [*below("pets/cat", "pets/dog"), "preview.jpg"],
        [*below("pets/cat", "pets/dog"), "preview.jpg", "pets/contents.jpg"],
    ],
)
def test_classes_are_below_what_wraps_and_splits(names: list[str]) -> None:
    assert classes(names) == ["cat", "dog"]


@pytest.mark.parametrize(
    "names",
    [
        below("train", "bus", "car"),  # vehicles
        below("train/deep", "bus", "car"),
    ],
)
def test_a_class_may_be_called_as_a_split_is(names: list[str]) -> None:
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
def test_folders_that_only_hold_pictures_are_no_classes(names: list[str]) -> None:
    assert classes(names) == []


def test_numbered_class_folders_are_no_shards() -> None:
    signs = [f"{sign:05d}/{track:05d}_{frame:05d}.ppm" for sign in range(3) for track in range(2) for frame in range(2)]
    assert classes(signs) == ["00000", "00001", "00002"]
    assert classes(below("00000", "00001")) == ["00000", "00001"]


def test_classes_that_are_numbers_are_in_the_order_of_their_values() -> None:
    assert sort_classes({str(number) for number in range(1, 13)}) == [str(number) for number in range(1, 13)]
    assert sort_classes({"10", "9", "a"}) == ["10", "9", "a"]


def test_a_stray_picture_is_left_out_with_the_reason_and_is_no_failure(project: Project) -> None:
    project.write({name: picture() for name in [*below("flowers/rose", "flowers/tulip"), "preview.png"]})
    manifest = project.prepare(max_skipped=0)
    assert manifest.images_per_class == {"rose": 2, "tulip": 2}
    assert [(kind.kind, kind.examples) for kind in manifest.left_out] == [
        ("pictures in no class folder", ("preview.png",))
    ]


def test_folders_beside_most_of_the_pictures_are_refused(project: Project) -> None:
    project.write({name: picture() for name in [*below("a", "b"), *(f"{number}.png" for number in range(5))]})
    assert project.refusal() == (
        "5 of 9 pictures lie in no class folder (0.png), beside the classes a, b; move them into class folders, or set "
        "data.labels: none in params.yaml to train on all without classes"
    )
    assert len(project.labels(labels="none")) == 9


def shards(project: Project, labels: object, wrapper: str = "") -> None:
    """Twelve pictures as StyleGAN's dataset tool writes them, with such labels."""
    names = [f"{number // 6:05d}/img{number:08d}.png" for number in range(12)]
    table = {"labels": labels(names) if callable(labels) else labels}
    files = {name: picture() for name in names} | {"dataset.json": json.dumps(table).encode()}
    project.write({wrapper + name: content for name, content in files.items()})


@pytest.mark.parametrize("wrapper", ["", "faces/"])
@pytest.mark.parametrize(
    "labels",
    [
        lambda names: [[name, number % 3] for number, name in enumerate(names)],
        lambda names: {name: number % 3 for number, name in enumerate(names)},
        lambda names: [[name.replace("/", "\\"), number % 3] for number, name in enumerate(names)],
        lambda names: [[name, [float(number % 3 == k) for k in range(3)]] for number, name in enumerate(names)],
    ],
    ids=["list", "dict", "backslashes", "one-hot"],
)
def test_the_labels_of_dataset_json_are_used(project: Project, labels: object, wrapper: str) -> None:
    shards(project, labels, wrapper)
    manifest = project.prepare()
    assert manifest.images_per_class == {"0": 4, "1": 4, "2": 4}
    assert manifest.left_out == ()


def test_labels_of_dataset_json_that_are_null_are_no_classes(project: Project) -> None:
    shards(project, None)
    assert set(project.labels().values()) == {None}


def test_a_picture_without_a_label_in_dataset_json_is_left_out(project: Project) -> None:
    shards(project, lambda names: [[name, 7] for name in names[:5]] + [[names[5], 12]])
    manifest = project.prepare()
    assert manifest.images_per_class == {"7": 5, "12": 1}
    assert [(kind.kind, kind.files) for kind in manifest.left_out] == [("pictures that dataset.json gives no label", 6)]


def test_another_tools_dataset_json_is_a_file_beside_the_pictures(project: Project) -> None:
    project.write({name: picture() for name in below("cat", "dog")} | {"dataset.json": b'{"title": "pets"}'})
    assert set(project.labels().values()) == {"cat", "dog"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"labels": [["0', "dataset.json is not JSON: "),
        (b'{"labels": [["cat/0.png", "cat"]]}', 'dataset.json: "labels" must be a list of [file, class number]'),
        (b'{"labels": 7}', 'dataset.json: "labels" must be a list of [file, class number]'),
        (b'{"labels": [["x.png", 1]]}', "dataset.json lists none of the 4 pictures; remove it, or make it anew"),
    ],
)
def test_a_dataset_json_that_does_not_work_is_one_sentence(project: Project, content: bytes, said: str) -> None:
    project.write({name: picture() for name in below("cat", "dog")} | {"dataset.json": content})
    assert project.refusal().startswith(said)
