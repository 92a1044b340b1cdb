"""A stage that the system refuses something, or that is asked to end, says so in one line."""

import errno
import os
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

REPOSITORY = Path(__file__).parents[2]
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """As a terminal leaves them, whatever pytest was started with; afterwards as they were."""
    before = {number: signal.getsignal(number) for number in ENDING}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Callable[[], object]], tuple[object, str]]:
    """Runs a stage in an empty folder: its exit status and what it tells."""
    monkeypatch.chdir(tmp_path)

    def run(main: Callable[[], object]) -> tuple[object, str]:
        with pytest.raises(SystemExit) as ended:
            run_stage(lambda: (main(), None)[1])
        return ended.value.code, capsys.readouterr().err

    return run


def full_disk() -> None:
    with Path("/dev/full").open("wb", buffering=0) as file:
        file.write(b"content")


def below_a_file() -> None:
    Path("file").touch()
    Path("file/below").write_text("content")


def circle() -> None:
    Path("circle").symlink_to("circle")
    Path("circle").read_bytes()


def unread_pipe() -> None:
    os.mkfifo("pipe")
    os.open("pipe", os.O_WRONLY | os.O_NONBLOCK)


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "full disk": (full_disk, "the disk is full: a file could not be written; free some space"),
    "long name": (lambda: Path("x" * 300).write_text(""), "xxx is too long for its file system; shorten it"),
    "file as a folder": (below_a_file, "file/below leads through a file where a folder is needed"),
    "folder as a file": (lambda: Path().write_text(""), ". is a folder where a file is needed"),
    "circle of links": (circle, "circle is a link that leads in a circle"),
    "changed meanwhile": (lambda: Path("gone").read_bytes(), "gone does not exist, or no longer; if another program"),
    "pipe": (unread_pipe, "pipe is a pipe or a device, not a file"),
    "numpy's memory": (lambda: np.zeros(2**60, np.uint8), "there is not enough memory; lower train.batch"),
    "torch's memory": (lambda: torch.zeros(2**60, dtype=torch.uint8), "there is not enough memory; lower train.batch"),
}


@pytest.mark.parametrize("cause", REFUSED)
def test_what_the_system_refuses_is_one_sentence(
    told: Callable[[Callable[[], object]], tuple[object, str]], cause: str
) -> None:
    main, words = REFUSED[cause]
    status, said = told(main)
    assert status == 1
    assert said.startswith("error: ")
    assert words in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("number", MESSAGES, ids=errno.errorcode.get)
def test_every_known_refusal_names_the_file_and_says_what_to_change(number: int) -> None:
    said = explain_system_error(OSError(number, "as the system says it", "data/file"))
    assert said is not None
    assert said.endswith(f"({os.strerror(number)})")
    assert ";" in said
    assert "{" not in said
    about_no_file = {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.EPIPE}
    assert ("data/file" in said) == (number not in about_no_file)


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
def test_refusals_that_root_does_not_meet_have_their_sentence(error: Exception, words: str) -> None:
    assert words in str(explain_system_error(error))


def test_a_defect_of_mint_keeps_its_traceback() -> None:
    def main() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        run_stage(main)


def test_a_name_in_an_error_cannot_steer_the_terminal(
    told: Callable[[Callable[[], object]], tuple[object, str]],
) -> None:
    def main() -> None:
        raise MintError("photos/\x1b[31mred\nand\udcff.png is é")

    assert told(main) == (1, "error: photos/\\u001b[31mred\\nand\\udcff.png is é\n")


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_ends_a_stage_and_lets_it_tidy_up(
    told: Callable[[Callable[[], object]], tuple[object, str]], number: signal.Signals
) -> None:
    def main() -> None:
        try:
            signal.raise_signal(number)
        finally:
            Path("tidied").touch()

    assert told(main) == (130, "stopped; run the same command to go on\n")
    assert Path("tidied").exists()


def test_a_hang_up_that_nohup_ignores_stays_ignored() -> None:
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
        print("a line for people")
        file.write("content")

run_stage(main)
"""


def run_small_stage(folder: Path, streams: str = "", stdout: int = subprocess.PIPE) -> tuple[int, str]:
    """Runs it in a process of its own with a shell's redirections: its exit status and what it tells."""
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


def test_closed_streams_lead_no_words_into_the_output(tmp_path: Path) -> None:
    assert run_small_stage(tmp_path, "<&- >&- 2>&-") == (0, "")
    assert (tmp_path / "output").read_text() == "content"


def test_output_to_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    status, said = run_small_stage(tmp_path, ">/dev/full")
    assert status == 1
    assert said.startswith("error: the disk is full")
    assert said.count("\n") == 1


def test_output_that_nobody_reads_is_one_sentence(tmp_path: Path) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    status, said = run_small_stage(tmp_path, stdout=writes)
    os.close(writes)
    assert status == 1
    assert said.startswith("error: what read the output has ended")
    assert said.count("\n") == 1
