"""The sources of cases.py through the preprocess stage: classes, counts and pixels."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.training.data.sources.cases import ARCHIVES, FOLDERS, GREY_RAMP, noise
from tests.training.project import RED, Project
from training.data.manifest import DataError
from training.preprocess import main


@dataclass(frozen=True)
class Expected:
    """Expected result: classes in order with their counts, ignored files, pixels."""

    classes: dict[str, int] = field(default_factory=dict)
    images: int | None = None  # of unlabelled sources
    left_out: dict[str, int] = field(default_factory=dict)
    pixels: NDArray[np.uint8] | None = None  # default: those of noise(0), noise(1), ...
    tolerance: int = 0  # largest difference of a value, for JPEG and resampling


def grey_square() -> NDArray[np.uint8]:
    """The ramp in 8 bits, cropped and resampled."""
    grey = Image.fromarray(np.rint(GREY_RAMP / 257).astype(np.uint8)).crop((10, 0, 50, 40))
    return np.asarray(grey.resize((28, 28), Image.Resampling.LANCZOS))[..., None].repeat(3, 2)


SIX_EACH = {"cat": 6, "dog": 6}
EXPECTED = {
    "joined.tar": Expected(SIX_EACH),
    "macos-names.zip": Expected({"Café": 4, "tea": 4}),
    "backslash.zip": Expected(SIX_EACH),
    "npz-bytes.npz": Expected({"ant": 4, "bee": 4, "cow": 4}),
    "splits": Expected({"cat": 12, "dog": 12}),
    "shards": Expected({"0": 4, "1": 4, "2": 4}),
    "nested": Expected({"rose": 6, "tulip": 6}, left_out={"pictures in no class folder": 1}),
    "jfif": Expected(SIX_EACH, tolerance=40),
    "no-suffix": Expected(SIX_EACH, tolerance=40),
    "16-bit-wide": Expected(images=12, pixels=np.stack([grey_square()] * 12), tolerance=1),
    "long-profile": Expected(images=10),
    "display-p3": Expected(images=6, pixels=np.full((6, 28, 28, 3), RED, np.uint8), tolerance=3),
    "nas": Expected({"cat": 8, "dog": 8}, left_out={"system files": 5}),
    "captions": Expected(images=12, left_out={".txt files": 12}),
    "seven": Expected(images=7),
    "sixteen-classes-of-one": Expected({f"c{number:02d}": 1 for number in range(16)}),
    "numbered": Expected({str(number): 3 for number in range(1, 13)}),
}
INCOMPLETE = ("bad-header.tar", "cut-header.tar")


def make(project: Project, name: str) -> None:
    """Write the source of that name into the project."""
    if name in ARCHIVES:
        Path(name).write_bytes(ARCHIVES[name]())
    else:
        project.write(FOLDERS[name](), under=name)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_source_is_read_with_the_expected_classes_and_pixels(
    project: Project, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = EXPECTED[name]
    make(project, name)
    manifest = project.prepare(name)
    assert list(manifest.images_per_class.items()) == list(expected.classes.items())
    assert manifest.images == (expected.images or sum(expected.classes.values()))
    assert manifest.skipped == ()
    assert {kind.kind: kind.files for kind in manifest.left_out} == expected.left_out
    message = capsys.readouterr().out
    assert all(f"{name} ({count})" in message for name, count in expected.classes.items())
    assert all(f"{kind} ({count})" in message for kind, count in expected.left_out.items())
    images = project.images().astype(int)
    pixels = expected.pixels if expected.pixels is not None else np.stack([noise(seed) for seed in range(len(images))])
    assert np.abs(images - pixels).max() <= expected.tolerance


@pytest.mark.parametrize("name", INCOMPLETE)
def test_an_incomplete_source_gives_a_one_line_error(project: Project, name: str) -> None:
    make(project, name)
    project.data(name)
    with pytest.raises(DataError) as error:
        main()
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("download or pack it again")


def test_every_case_is_covered() -> None:
    assert sorted([*EXPECTED, *INCOMPLETE]) == sorted([*ARCHIVES, *FOLDERS])
