"""Unusual paths: pipes, devices, cycles and control characters give one-line errors without hanging."""

import os
from pathlib import Path

import pytest

from serving.errors import MintError
from tests.training.project import Project, picture
from training import paths, preprocess
from training.data.manifest import DataError
from training.lock import exclusive_lock

PICTURES = {"a.png": picture(), "b.png": picture()}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("pipe", "is neither a folder nor a file"),
        ("/dev/zero", "is neither a folder nor a file"),
        ("/proc", "is the system's own, not files; name another folder"),
        ("/proc/self/fd", "is the system's own"),
        ("link-to-sys", "is the system's own"),
        ("~nosuchuser/photos", "does not exist"),
        ("circle", "does not exist"),
    ],
)
def test_pipes_devices_and_virtual_file_systems_are_refused_before_they_are_read(
    project: Project, source: str, words: str
) -> None:
    os.mkfifo("pipe")
    Path("link-to-sys").symlink_to("/sys/kernel")
    Path("circle").symlink_to("circle")
    with pytest.raises(DataError) as error:
        project.prepare(source)
    assert words in str(error.value)
    assert not paths.MANIFEST.exists()


@pytest.mark.parametrize("name", ["labels.csv", "classes.txt"])
def test_labels_from_a_pipe_are_refused_before_they_are_read(project: Project, name: str) -> None:
    project.write(PICTURES)
    project.write({"labels.csv": b"a.png,cat\nb.png,dog\n"}, under=".")
    Path(name).unlink(missing_ok=True)
    os.mkfifo(name)
    with pytest.raises(DataError, match=f"{name} is no file; write auto, none or a CSV file"):
        project.prepare(labels="labels.csv")


def test_control_characters_in_names_are_escaped_on_the_terminal(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.write({"re\x1b[31md/a.png": picture(), "blue\n/a.png": picture(), "c.\x07xt": b"no picture"})
    project.prepare()
    message = capsys.readouterr().out
    assert r"re\u001b[31md (1)" in message
    assert r"blue\n (1)" in message
    assert "\x1b" not in message
    assert "\x07" not in message


def test_two_processes_never_prepare_at_once(project: Project) -> None:
    project.write(PICTURES)
    project.data()
    with (
        exclusive_lock(paths.PREPARED_LOCK, "preparing"),
        pytest.raises(MintError, match=f"process {os.getpid()} is already preparing data/prepared; wait for it or end"),
    ):
        preprocess.main()
    preprocess.main()
    assert paths.MANIFEST.exists()
