"""Tests of interrupted runs: stopped, killed or with damaged checkpoints, they end like uninterrupted ones."""

import hashlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from serving.errors import MintError
from tests.training.project import Project, tiny, write_params
from training import loop, paths, preprocess, reporting, train
from training.data.manifest import read_manifest
from training.gan.checkpoint import RunFolder, fingerprint, open_run
from training.params import load_params
from training.torch_files import load_with_checksum

REPOSITORY = Path(__file__).parents[2]
SOURCE = str(REPOSITORY / "data/fashion-mnist-10k")
STEP = 16  # images; an epoch has four of them
ENDLESS = "100000 epochs"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def configure(folder: Path, length: str, **changes: Any) -> None:
    schedule = {
        "length": length,
        "batch": STEP,
        "checkpoint_kimg": 0.032,
        "probe_kimg": 0.048,
        "sheet_epochs": [1],
    } | changes
    write_params(folder, **tiny(data={"source": SOURCE, "limit": 64}, train=schedule))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which two epochs were trained: its two checkpoints are of 96 and of 128 images."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        configure(folder, "2 epochs")
        preprocess.main()
        train.main()
    return folder


@pytest.fixture
def fresh(copy: Project) -> Project:
    """A copy without a trained model."""
    shutil.rmtree(run_folder().path)
    shutil.rmtree("reports")
    return copy


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Default signal handlers, as in a terminal; the previous ones afterwards."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run_folder() -> RunFolder:
    return RunFolder(paths.RUNS / fingerprint(load_params(), read_manifest()))


def images_seen(checkpoint: Path) -> int:
    images: int = load_with_checksum(checkpoint)["state"]["images_seen"]
    return images


def outputs() -> dict[str, str]:
    """Hashes of all outputs of the stage."""
    files = [paths.GENERATOR_WEIGHTS, *(path for path in Path("reports").rglob("*") if path.is_file())]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows() -> list[str]:
    """Rows of a curve so far."""
    curve = paths.TRAIN_REPORT / "plots/metrics/d_loss.tsv"
    return curve.read_text().splitlines()[1:] if curve.exists() else []


class MaliciousPickle:
    """Object that creates a file when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return Path.touch, (Path("unpickled"),)  # type: ignore[return-value]


def remove_key(path: Path) -> None:
    content = load_with_checksum(path)
    del content["state"]["trainer"]
    torch.save(content, path)


def flip_bit(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1000]),
    "empty": lambda path: path.write_bytes(b""),
    "other": lambda path: path.write_bytes(b"no checkpoint\n" * 1000),
    "pickled": lambda path: path.write_bytes(pickle.dumps(MaliciousPickle())),
    "key missing": remove_key,
    "bit flipped": lambda path: flip_bit(path, path.stat().st_size // 2),
    "bit flipped in the checksum": lambda path: flip_bit(path, -1),
}


@pytest.mark.parametrize("damage", [*DAMAGE, "missing"])
def test_a_damaged_checkpoint_is_reported_and_the_previous_one_is_loaded(
    copy: Project, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    newest = run_folder().checkpoints()[-1]
    DAMAGE.get(damage, Path.unlink)(newest)
    state = run_folder().latest(lambda _: True)
    assert state is not None
    assert state["images_seen"] == 96
    assert not newest.exists()
    assert not Path("unpickled").exists()
    printed = capsys.readouterr().out
    assert ("; going back to the checkpoint before it" in printed) == (damage != "missing")


def test_without_an_intact_checkpoint_a_run_starts_over_and_says_so(
    copy: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    before = outputs()
    for checkpoint in run_folder().checkpoints():
        flip_bit(checkpoint, 1000)
    train.main()
    assert f"no other checkpoint in {run_folder().path} can be used; starting over" in capsys.readouterr().out
    assert outputs() == before


def test_a_run_with_a_damaged_checkpoint_ends_like_an_uninterrupted_one(copy: Project) -> None:
    before = outputs()
    flip_bit(run_folder().checkpoints()[-1], 5000)
    train.main()
    assert outputs() == before


def test_stops_do_not_change_the_outputs_of_a_run(fresh: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops before, at and after the first row of the curves, which comes after the second step here, and later."""
    monkeypatch.setattr(loop, "LOG_EVERY_IMAGES", 2 * STEP)
    configure(fresh.folder, "2 epochs")
    train.main()
    expected, expected_rows = outputs(), rows()
    assert [row.split("\t")[0] for row in expected_rows] == ["0", "1", "2", "3"]
    shutil.rmtree(run_folder().path)
    for steps in (1, 2, 3, 6):
        configure(fresh.folder, f"{steps * STEP / 1000} kimg")
        train.main()
    configure(fresh.folder, "2 epochs")
    train.main()
    assert rows() == expected_rows
    assert outputs() == expected


def test_the_reports_of_another_run_are_removed(fresh: Project) -> None:
    paths.SAMPLES.mkdir(parents=True)
    (paths.SAMPLES / "epoch-0099.png").write_bytes(b"of another run")
    configure(fresh.folder, "1 epochs")
    train.main()

    assert {path.stem for path in paths.SAMPLES.glob("*.png")} == {"epoch-0001", "last"}


@contextmanager
def concurrently(act: Callable[[Callable[[Callable[[], bool]], bool]], None]) -> Iterator[None]:
    """Run `act` in a thread beside the body; its argument waits for a condition.

    That function returns True once the condition holds, False if the body ends first.
    """
    ended = threading.Event()

    def wait_until(condition: Callable[[], bool]) -> bool:
        while not condition():
            if ended.wait(0.01):
                return False
        return True

    thread = threading.Thread(target=act, args=(wait_until,))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_stops_a_run_after_saving_a_checkpoint(
    fresh: Project, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY_IMAGES", 2 * STEP)
    configure(fresh.folder, ENDLESS, checkpoint_kimg=1e6, probe_kimg=1e6)

    def act(wait_until: Callable[[Callable[[], bool]], bool]) -> None:
        if wait_until(lambda: len(rows()) > 0):
            os.kill(os.getpid(), number)

    with concurrently(act), pytest.raises(KeyboardInterrupt):
        train.main()
    (checkpoint,) = run_folder().checkpoints()
    assert images_seen(checkpoint) >= 2 * STEP * len(rows())
    assert signal.getsignal(number) == signal.default_int_handler


def test_under_nohup_a_closed_terminal_does_not_stop_a_run(fresh: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY_IMAGES", 2 * STEP)
    configure(fresh.folder, ENDLESS, checkpoint_kimg=1e6, probe_kimg=1e6)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    continued = []

    def act(wait_until: Callable[[Callable[[], bool]], bool]) -> None:
        if wait_until(lambda: len(rows()) > 0):
            os.kill(os.getpid(), signal.SIGHUP)
            after = len(rows())
            continued.append(wait_until(lambda: len(rows()) > after + 2))
            os.kill(os.getpid(), signal.SIGTERM)

    with concurrently(act), pytest.raises(KeyboardInterrupt):
        train.main()
    assert continued == [True]


def test_a_run_whose_output_pipe_breaks_stops_after_saving_a_checkpoint(
    fresh: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "FIRST_LINE_SECONDS", 0.0)
    monkeypatch.setattr(reporting, "LINE_INTERVAL_SECONDS", 0.0)
    configure(fresh.folder, ENDLESS, checkpoint_kimg=1e6, probe_kimg=1e6)
    reads, writes = os.pipe()
    output = os.fdopen(writes, "w")

    def read_one_line(_: Callable[[Callable[[], bool]], bool]) -> None:
        with os.fdopen(reads) as reader:
            assert reader.readline().startswith("training dcgan on 64 images")

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", output)
        with concurrently(read_one_line), pytest.raises(KeyboardInterrupt):
            train.main()
    with suppress(BrokenPipeError):
        output.close()
    assert len(run_folder().checkpoints()) == 1


def test_a_killed_run_resumes_from_its_last_checkpoint_and_ends_like_an_uninterrupted_one(
    fresh: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(fresh.folder, ENDLESS)
    run = run_folder()
    process = subprocess.Popen(
        [sys.executable, "-m", "training.train"],
        # With another number of threads sums are added in another order, and the bytes differ.
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": str(torch.get_num_threads())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 240
    while not run.checkpoints() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    output, _ = process.communicate()
    assert run.checkpoints(), output
    reached = images_seen(run.checkpoints()[-1])
    configure(fresh.folder, f"{(reached + STEP) / 1000} kimg")
    capsys.readouterr()
    train.main()
    assert f"resuming from {reached / 1000:.1f} kimg" in capsys.readouterr().out
    resumed = outputs()
    shutil.rmtree(run_folder().path)
    train.main()
    assert resumed == outputs()


@pytest.mark.parametrize("kind", ["dvc --temp", "git worktree"])
def test_a_temporary_copy_of_the_checkout_saves_its_checkpoints_in_the_checkout(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    main = tmp_path / "main"
    main.mkdir()
    for command in ("init -q", "-c user.name=t -c user.email=t@example.org commit -q --allow-empty -m first"):
        subprocess.run(["git", *command.split()], cwd=main, check=True)
    copies = main / ".dvc/tmp/exps" if kind == "dvc --temp" else tmp_path

    def in_a_copy(name: str, length: str) -> str:
        folder = copies / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        command = ["git", "init", "-q"] if kind == "dvc --temp" else ["git", "worktree", "add", "-q"]
        subprocess.run([*command, str(folder)], cwd=main, check=True)
        shutil.copytree(trained / paths.PREPARED, folder / paths.PREPARED)
        configure(folder, length, probe_kimg=1e6)
        with monkeypatch.context() as patch:
            patch.chdir(folder)
            train.main()
        shutil.rmtree(folder)
        return capsys.readouterr().out

    in_a_copy("first", "1 epochs")
    (run,) = (path for path in (main / paths.RUNS).iterdir() if path.is_dir())
    assert [checkpoint.name for checkpoint in sorted(run.glob("*.pt"))] == ["kimg-000000.032.pt", "kimg-000000.064.pt"]
    assert f"resuming from 0.1 kimg in {run}" in in_a_copy("second", "2 epochs")


def test_two_processes_never_train_in_one_folder(project: Project) -> None:
    with (
        open_run("some-run"),
        pytest.raises(MintError, match=f"process {os.getpid()} is already training"),
        open_run("some-run"),
    ):
        pass
