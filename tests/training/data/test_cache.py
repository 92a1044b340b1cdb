"""Prepared-data cache: hits for unchanged inputs, rebuilds for every change."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.training.project import Project, picture
from training import paths
from training.data.cache import CacheRecord, write_cache_record


@pytest.fixture
def prepared(project: Project) -> Project:
    """A project whose data is prepared, with labels from a CSV."""
    project.write({"a.png": picture(), "b.png": picture()})
    project.write({"tags.csv": b"a.png,cat\nb.png,dog\n"}, under="labels")
    project.prepare(labels="labels/tags.csv")
    return project


@pytest.fixture
def rebuilt(prepared: Project, capsys: pytest.CaptureFixture[str]) -> Callable[..., bool]:
    """Run the stage again; returns whether it rebuilt the data."""
    capsys.readouterr()

    def again(**overrides: object) -> bool:
        prepared.prepare(**{"labels": "labels/tags.csv"} | overrides)  # type: ignore[arg-type]
        message = capsys.readouterr().out
        assert message.startswith(("prepared data/prepared  2 images", "data/prepared is up to date: 2 images"))
        return message.startswith("prepared")

    return again


def test_unchanged_data_is_not_prepared_again(rebuilt: Callable[..., bool]) -> None:
    before = paths.IMAGES.stat().st_mtime_ns
    assert not rebuilt()
    assert paths.IMAGES.stat().st_mtime_ns == before


def test_temporary_files_of_a_killed_run_are_removed_even_on_a_cache_hit(rebuilt: Callable[..., bool]) -> None:
    leftover = paths.PREPARED / ".images.npy.123.part"
    leftover.write_bytes(b"half")
    assert not rebuilt()
    assert not leftover.exists()


@pytest.mark.parametrize(
    "overrides", [{"resolution": 32}, {"channels": 1}, {"background": "#000000"}, {"labels": "none"}, {"limit": 2}]
)
def test_a_changed_parameter_rebuilds(rebuilt: Callable[..., bool], overrides: dict[str, object]) -> None:
    assert rebuilt(**overrides)
    assert not rebuilt(**overrides)


def test_an_added_file_rebuilds(prepared: Project, rebuilt: Callable[..., bool]) -> None:
    prepared.write({"c.png": picture()})  # without a row in the CSV, so there are still two images
    assert rebuilt()


def test_a_removed_file_rebuilds(prepared: Project, rebuilt: Callable[..., bool]) -> None:
    (prepared.folder / "photos/b.png").rename(prepared.folder / "photos/c.png")
    prepared.write({"tags.csv": b"a.png,cat\nc.png,dog\n"}, under="labels")
    assert rebuilt()


def test_a_touched_file_rebuilds(prepared: Project, rebuilt: Callable[..., bool]) -> None:
    os.utime(prepared.folder / "photos/a.png", ns=(0, 0))
    assert rebuilt()
    assert not rebuilt()


@pytest.mark.parametrize("change", ["overwritten", "replaced"])
def test_changed_content_with_the_same_size_and_mtime_rebuilds(
    prepared: Project, rebuilt: Callable[..., bool], change: str
) -> None:
    path = prepared.folder / "photos/a.png"
    before = path.stat()
    other = path.read_bytes()[:-1] + b"\0"  # of the checksum of the PNG's last chunk
    if change == "overwritten":
        path.write_bytes(other)
    else:
        (prepared.folder / "other").write_bytes(other)
        (prepared.folder / "other").rename(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert rebuilt()
    assert not rebuilt()


def test_a_changed_csv_rebuilds(prepared: Project, rebuilt: Callable[..., bool]) -> None:
    prepared.write({"tags.csv": b"a.png,dog\nb.png,cat\n"}, under="labels")
    os.utime(prepared.folder / "labels/tags.csv", ns=(0, 0))
    assert rebuilt()


def test_a_new_classes_txt_rebuilds(prepared: Project, rebuilt: Callable[..., bool]) -> None:
    prepared.write({"classes.txt": b"dog\ncat\n"}, under="labels")
    assert rebuilt()


@pytest.mark.parametrize("path", [paths.IMAGES, paths.LABELS, paths.MANIFEST, paths.PREPARED_CACHE_RECORD])
@pytest.mark.parametrize("damage", ["missing", "empty", "changed"])
def test_missing_and_damaged_outputs_are_rebuilt(rebuilt: Callable[..., bool], path: Path, damage: str) -> None:
    whole = paths.IMAGES.read_bytes()
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:-9] + b"\x07" * 9 if damage == "changed" else b"")
    assert rebuilt()
    assert paths.IMAGES.read_bytes() == whole


def test_a_manifest_of_an_older_version_is_rebuilt(rebuilt: Callable[..., bool]) -> None:
    manifest = json.loads(paths.MANIFEST.read_text())
    paths.MANIFEST.write_text(json.dumps({key: manifest[key] for key in manifest if key != "class_tags"}))
    write_cache_record(CacheRecord.model_validate_json(paths.PREPARED_CACHE_RECORD.read_bytes()).inputs)
    assert rebuilt()
    assert json.loads(paths.MANIFEST.read_text()) == manifest


def test_the_same_bytes_with_new_times_are_a_cache_hit(rebuilt: Callable[..., bool]) -> None:
    """As after a checkout by DVC."""
    shutil.copytree(paths.PREPARED, "copy")
    shutil.rmtree(paths.PREPARED)
    shutil.copytree("copy", paths.PREPARED, copy_function=shutil.copyfile)
    os.utime(paths.IMAGES, ns=(0, 0))
    assert not rebuilt()
    assert np.load(paths.IMAGES).shape == (2, 28, 28, 3)


def test_an_archive_is_cached_by_its_own_size_and_time(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.make_archive("photos", "zip", project.write({"a.png": picture()}))
    project.prepare("photos.zip")
    project.prepare("photos.zip")
    os.utime("photos.zip", ns=(0, 0))
    project.prepare("photos.zip")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[0] != " "] == [
        "prepared", "data/prepared", "prepared",
    ]  # fmt: skip
