"""Sources as people have them, through the whole stage: which classes, how many pictures, which pixels."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.training.data.cases import ARCHIVES, FOLDERS, GREY_RAMP, noise
from tests.training.project import RED, Project
from training.data.manifest import DataError
from training.preprocess import main


@dataclass(frozen=True)
class Right:
    """What is right for a source: its classes in order with their counts, and what lies beside its pictures."""

    classes: dict[str, int] = field(default_factory=dict)
    images: int | None = None  # where there are no classes
    left_out: dict[str, int] = field(default_factory=dict)
    pixels: NDArray[np.uint8] | None = None  # of all images; by default those of noise(0), noise(1), ...
    tolerance: int = 0  # largest difference of a value: what JPEG and filters may change


def grey_square() -> NDArray[np.uint8]:
    """The ramp in 8 bits, its centre, filtered as any picture."""
    grey = Image.fromarray(np.rint(GREY_RAMP / 257).astype(np.uint8)).crop((10, 0, 50, 40))
    return np.asarray(grey.resize((28, 28), Image.Resampling.LANCZOS))[..., None].repeat(3, 2)


SIX_EACH = {"cat": 6, "dog": 6}
RIGHT = {
    "joined.tar": Right(SIX_EACH),
    "macos-names.zip": Right({"Café": 4, "tea": 4}),
    "backslash.zip": Right(SIX_EACH),
    "npz-bytes.npz": Right({"ant": 4, "bee": 4, "cow": 4}),
    "splits": Right({"cat": 12, "dog": 12}),
    "shards": Right({"0": 4, "1": 4, "2": 4}),
    "nested": Right({"rose": 6, "tulip": 6}, left_out={"pictures in no class folder": 1}),
    "jfif": Right(SIX_EACH, tolerance=40),
    "no-suffix": Right(SIX_EACH, tolerance=40),
    "16-bit-wide": Right(images=12, pixels=np.stack([grey_square()] * 12), tolerance=1),
    "long-profile": Right(images=10),
    "display-p3": Right(images=6, pixels=np.full((6, 28, 28, 3), RED, np.uint8), tolerance=3),
    "nas": Right({"cat": 8, "dog": 8}, left_out={"system files": 5}),
    "captions": Right(images=12, left_out={".txt files": 12}),
    "seven": Right(images=7),
    "sixteen-classes-of-one": Right({f"c{number:02d}": 1 for number in range(16)}),
    "numbered": Right({str(number): 3 for number in range(1, 13)}),
}
REFUSED = ("bad-header.tar", "cut-header.tar")


def make(project: Project, name: str) -> None:
    """The source of that name, in the project's folder."""
    if name in ARCHIVES:
        Path(name).write_bytes(ARCHIVES[name]())
    else:
        project.write(FOLDERS[name](), under=name)


@pytest.mark.parametrize("name", RIGHT)
def test_a_source_is_read_as_it_is_meant(project: Project, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    right = RIGHT[name]
    make(project, name)
    manifest = project.prepare(name)
    assert list(manifest.images_per_class.items()) == list(right.classes.items())
    assert manifest.images == (right.images or sum(right.classes.values()))
    assert manifest.skipped == ()
    assert {kind.kind: kind.files for kind in manifest.left_out} == right.left_out
    said = capsys.readouterr().out
    assert all(f"{name} ({count})" in said for name, count in right.classes.items())
    assert all(f"{kind} ({count})" in said for kind, count in right.left_out.items())
    images = project.images().astype(int)
    expected = right.pixels if right.pixels is not None else np.stack([noise(seed) for seed in range(len(images))])
    assert np.abs(images - expected).max() <= right.tolerance


@pytest.mark.parametrize("name", REFUSED)
def test_a_source_that_is_not_whole_is_refused_in_one_sentence(project: Project, name: str) -> None:
    make(project, name)
    project.data(name)
    with pytest.raises(DataError) as error:
        main()
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("download or pack it again")


def test_every_case_is_tried() -> None:
    assert sorted([*RIGHT, *REFUSED]) == sorted([*ARCHIVES, *FOLDERS])
