"""Nothing is prepared twice, and nothing that changed is missed."""

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
    """Runs the stage again; whether it prepared the data anew."""
    capsys.readouterr()

    def again(**overrides: object) -> bool:
        prepared.prepare(**{"labels": "labels/tags.csv"} | overrides)  # type: ignore[arg-type]
        said = capsys.readouterr().out
        assert said.startswith(("prepared data/prepared  2 images", "data/prepared is up to date: 2 images"))
        return said.startswith("prepared")

    return again


def test_nothing_changed_is_nothing_done(rebuilt: Callable[..., bool]) -> None:
    before = paths.IMAGES.stat().st_mtime_ns
    assert not rebuilt()
    assert paths.IMAGES.stat().st_mtime_ns == before


def test_what_a_killed_run_left_is_removed_even_when_nothing_is_done(rebuilt: Callable[..., bool]) -> None:
    leftover = paths.PREPARED / ".images.npy.123.part"
    leftover.write_bytes(b"half")
    assert not rebuilt()
    assert not leftover.exists()


@pytest.mark.parametrize(
    "overrides", [{"resolution": 32}, {"channels": 1}, {"background": "#000000"}, {"labels": "none"}, {"limit": 2}]
)
def test_another_parameter_prepares_anew(rebuilt: Callable[..., bool], overrides: dict[str, object]) -> None:
    assert rebuilt(**overrides)
    assert not rebuilt(**overrides)


def test_another_file_prepares_anew(prepared: Project, rebuilt: Callable[..., bool]) -> None:
    prepared.write({"c.png": picture()})  # without a row, so that the images stay two
    assert rebuilt()


def test_a_removed_file_prepares_anew(prepared: Project, rebuilt: Callable[..., bool]) -> None:
    (prepared.folder / "photos/b.png").rename(prepared.folder / "photos/c.png")
    prepared.write({"tags.csv": b"a.png,cat\nc.png,dog\n"}, under="labels")
    assert rebuilt()


def test_a_touched_file_prepares_anew(prepared: Project, rebuilt: Callable[..., bool]) -> None:
    os.utime(prepared.folder / "photos/a.png", ns=(0, 0))
    assert rebuilt()
    assert not rebuilt()


@pytest.mark.parametrize("how", ["written over", "put in its place"])
def test_another_content_of_the_same_size_and_time_prepares_anew(
    prepared: Project, rebuilt: Callable[..., bool], how: str
) -> None:
    path = prepared.folder / "photos/a.png"
    before = path.stat()
    other = path.read_bytes()[:-1] + b"\0"  # the last byte of a PNG's own checksum of an empty chunk
    if how == "written over":
        path.write_bytes(other)
    else:
        (prepared.folder / "other").write_bytes(other)
        (prepared.folder / "other").rename(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert rebuilt()
    assert not rebuilt()


def test_another_row_in_the_csv_prepares_anew(prepared: Project, rebuilt: Callable[..., bool]) -> None:
    prepared.write({"tags.csv": b"a.png,dog\nb.png,cat\n"}, under="labels")
    os.utime(prepared.folder / "labels/tags.csv", ns=(0, 0))
    assert rebuilt()


def test_a_classes_txt_beside_the_csv_prepares_anew(prepared: Project, rebuilt: Callable[..., bool]) -> None:
    prepared.write({"classes.txt": b"dog\ncat\n"}, under="labels")
    assert rebuilt()


@pytest.mark.parametrize("path", [paths.IMAGES, paths.LABELS, paths.MANIFEST, paths.PREPARED_CACHE_RECORD])
@pytest.mark.parametrize("damage", ["missing", "empty", "changed"])
def test_missing_and_damaged_files_are_made_anew(rebuilt: Callable[..., bool], path: Path, damage: str) -> None:
    whole = paths.IMAGES.read_bytes()
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:-9] + b"\x07" * 9 if damage == "changed" else b"")
    assert rebuilt()
    assert paths.IMAGES.read_bytes() == whole


def test_a_manifest_of_an_older_version_is_made_anew(rebuilt: Callable[..., bool]) -> None:
    manifest = json.loads(paths.MANIFEST.read_text())
    paths.MANIFEST.write_text(json.dumps({key: manifest[key] for key in manifest if key != "class_tags"}))
    write_cache_record(CacheRecord.model_validate_json(paths.PREPARED_CACHE_RECORD.read_bytes()).inputs)
    assert rebuilt()
    assert json.loads(paths.MANIFEST.read_text()) == manifest


def test_the_same_bytes_with_new_times_are_recognised(rebuilt: Callable[..., bool]) -> None:
    """So that a checkout by DVC costs no rebuild."""
    shutil.copytree(paths.PREPARED, "copy")
    shutil.rmtree(paths.PREPARED)
    shutil.copytree("copy", paths.PREPARED, copy_function=shutil.copyfile)
    os.utime(paths.IMAGES, ns=(0, 0))
    assert not rebuilt()
    assert np.load(paths.IMAGES).shape == (2, 28, 28, 3)


def test_an_archive_is_recognised_by_its_own_time_and_size(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.make_archive("photos", "zip", project.write({"a.png": picture()}))
    project.prepare("photos.zip")
    project.prepare("photos.zip")
    os.utime("photos.zip", ns=(0, 0))
    project.prepare("photos.zip")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[0] != " "] == [
        "prepared", "data/prepared", "prepared",
    ]  # fmt: skip
