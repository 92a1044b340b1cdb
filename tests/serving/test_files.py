"""Atomic writes: complete or absent, synced with their folders; stale temporary files are removed."""

import os
import stat
from pathlib import Path

import pytest

from serving.files import atomic_write, remove_stale_temporaries

NOBODY = 2**31 - 1  # no system gives a process this number


def test_a_failed_write_leaves_the_file_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")

    def fail() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_and_every_folder_that_changed_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[bool, int]] = []
    sync = os.fsync

    def recording_sync(descriptor: int) -> None:
        state = os.fstat(descriptor)
        synced.append((stat.S_ISDIR(state.st_mode), state.st_ino))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", recording_sync)
    path = tmp_path / "a/b/file"
    with atomic_write(path) as temporary:
        temporary.write_text("content")
    folders = [tmp_path, tmp_path / "a"]  # each before its contents
    assert synced == [
        *((True, folder.stat().st_ino) for folder in folders),
        (False, path.stat().st_ino),
        (True, path.parent.stat().st_ino),
    ]


def test_only_temporary_files_of_ended_processes_are_removed(tmp_path: Path) -> None:
    kept = {f".one.{os.getpid()}.part", f".two.{os.getppid()}.part", ".mine.part", "x.part", f"one.{NOBODY}.part"}
    for name in (*kept, f".one.{NOBODY}.part", f".x.y.{NOBODY}.part"):
        (tmp_path / name).touch()
    remove_stale_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept
    remove_stale_temporaries(tmp_path / "nowhere")
