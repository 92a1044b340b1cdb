"""Entry point of the stages: system errors and signals give one line and an exit code."""

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from serving.errors import MintError
from training.stage import run_stage
from training.system_errors import MESSAGES, explain_system_error
from training.torch_files import save_with_checksum

REPOSITORY = Path(__file__).parents[2]
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Signal handlers as a terminal sets them, restored afterwards."""
    before = {number: signal.getsignal(number) for number in ENDING}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def run_to_exit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Callable[[], object]], tuple[object, str]]:
    """Run a stage in an empty folder; returns its exit code and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(main: Callable[[], object]) -> tuple[object, str]:
        with pytest.raises(SystemExit) as ended:
            run_stage(lambda: (main(), None)[1])
        return ended.value.code, capsys.readouterr().err

    return run


def full_disk() -> None:
    with Path("/dev/full").open("wb", buffering=0) as file:
        file.write(b"content")


def no_room_for_a_checkpoint() -> None:
    """Fail in the midst of a file, where torch reports an error of its own."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        save_with_checksum({"weights": torch.zeros(100_000)}, Path("checkpoint.pt"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def below_a_file() -> None:
    Path("file").touch()
    Path("file/below").write_text("content")


def circle() -> None:
    Path("circle").symlink_to("circle")
    Path("circle").read_bytes()


def unread_pipe() -> None:
    os.mkfifo("pipe")
    os.open("pipe", os.O_WRONLY | os.O_NONBLOCK)


SYSTEM_ERRORS: dict[str, tuple[Callable[[], object], str]] = {
    "full disk": (full_disk, "the disk is full: a file could not be written; free some space"),
    "no room for a checkpoint": (no_room_for_a_checkpoint, "checkpoint.pt would be larger than its file system or"),
    "long name": (lambda: Path("x" * 300).write_text(""), "xxx is too long for its file system; shorten it"),
    "file as a folder": (below_a_file, "file/below leads through a file where a folder is needed"),
    "folder as a file": (lambda: Path().write_text(""), ". is a folder where a file is needed"),
    "circle of links": (circle, "circle is a link that leads in a circle"),
    "changed meanwhile": (lambda: Path("gone").read_bytes(), "gone does not exist, or no longer; if another program"),
    "pipe": (unread_pipe, "pipe is a pipe or a device, not a file"),
    "numpy's memory": (lambda: np.zeros(2**60, np.uint8), "there is not enough memory; lower train.batch"),
    "torch's memory": (lambda: torch.zeros(2**60, dtype=torch.uint8), "there is not enough memory; lower train.batch"),
}


@pytest.mark.parametrize("cause", SYSTEM_ERRORS)
def test_a_system_error_is_printed_on_one_line(
    run_to_exit: Callable[[Callable[[], object]], tuple[object, str]], cause: str
) -> None:
    main, words = SYSTEM_ERRORS[cause]
    status, message = run_to_exit(main)
    assert status == 1
    assert message.startswith("error: ")
    assert words in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("number", MESSAGES, ids=errno.errorcode.get)
def test_every_known_errno_names_the_file_and_a_remedy(number: int) -> None:
    message = explain_system_error(OSError(number, "as the system says it", "data/file"))
    assert message is not None
    assert message.endswith(f"({os.strerror(number)})")
    assert ";" in message
    assert "{" not in message
    without_a_file = {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EPIPE}
    assert ("data/file" in message) == (number not in without_a_file)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(errno.EACCES, "", "a.zip"), "you have no permission for a.zip; change its owner or mode"),
        (OSError(errno.EROFS, "", ".runs"), ".runs is on a read-only file system"),
        (OSError(errno.EXDEV, "", "a", None, "b"), "the system refuses a -> b"),
        (OSError(errno.ENOMEM, ""), "not enough memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "not enough memory"),
    ],
)
def test_errors_that_root_cannot_provoke_are_explained(error: Exception, words: str) -> None:
    assert words in str(explain_system_error(error))


def test_a_bug_keeps_its_traceback() -> None:
    def main() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        run_stage(main)


def test_control_characters_in_an_error_are_escaped(
    run_to_exit: Callable[[Callable[[], object]], tuple[object, str]],
) -> None:
    def main() -> None:
        raise MintError("photos/\x1b[31mred\nand\udcff.png is é")

    assert run_to_exit(main) == (1, "error: photos/\\u001b[31mred\\nand\\udcff.png is é\n")


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_ends_a_stage_and_lets_it_clean_up(
    run_to_exit: Callable[[Callable[[], object]], tuple[object, str]], number: signal.Signals
) -> None:
    def main() -> None:
        try:
            signal.raise_signal(number)
        finally:
            Path("tidied").touch()

    assert run_to_exit(main) == (130, "stopped; run the same command to go on\n")
    assert Path("tidied").exists()


def test_sighup_ignored_by_nohup_stays_ignored() -> None:
    reached = []

    def main() -> None:
        signal.raise_signal(signal.SIGHUP)
        reached.append(True)

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    run_stage(main)
    assert reached


STAGE = """
from pathlib import Path
from training.stage import run_stage

def main():
    with Path("output").open("w") as file:
        print("progress")
        file.write("content")

run_stage(main)
"""


def run_small_stage(folder: Path, streams: str = "", stdout: int = subprocess.PIPE) -> tuple[int, str]:
    """Run STAGE in a process with a shell's redirections; returns its exit code and stderr."""
    done = subprocess.run(
        ["bash", "-c", f'exec "$PYTHON" -c "$STAGE" {streams}'],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHON": sys.executable, "STAGE": STAGE},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stderr


def test_closed_streams_do_not_redirect_prints_into_an_output_file(tmp_path: Path) -> None:
    assert run_small_stage(tmp_path, "<&- >&- 2>&-") == (0, "")
    assert (tmp_path / "output").read_text() == "content"


def test_output_to_a_full_disk_gives_a_one_line_error(tmp_path: Path) -> None:
    status, message = run_small_stage(tmp_path, ">/dev/full")
    assert status == 1
    assert message.startswith("error: the disk is full")
    assert message.count("\n") == 1


def test_a_broken_pipe_on_stdout_gives_a_one_line_error(tmp_path: Path) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    status, message = run_small_stage(tmp_path, stdout=writes)
    os.close(writes)
    assert status == 1
    assert message.startswith("error: what read the output has ended")
    assert message.count("\n") == 1
