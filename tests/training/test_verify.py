"""Verification of a run: a stretch trained again is equal, or what differs is named."""

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from serving.errors import MintError
from tests.training.project import Project, tiny, write_params
from training import paths, preprocess, train
from training.gan.checkpoint import RunFolder
from training.torch_files import load_with_checksum, save_with_checksum
from training.verify import verify

SOURCE = str(Path(__file__).parents[2] / "data/fashion-mnist-10k")


def configure(folder: Path, **changes: Any) -> None:
    schedule = {
        "length": "0.256 kimg",
        "batch": 16,
        "checkpoint_kimg": 0.096,
        "keep_checkpoints": 4,
        "probe_kimg": 0.064,
    }
    write_params(folder, **tiny(data={"source": SOURCE, "limit": 64}, train=schedule | changes))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a run of several checkpoints."""
    folder = tmp_path_factory.mktemp("verified")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        configure(folder)
        preprocess.main()
        train.main()
    return folder


def only_run() -> RunFolder:
    (folder,) = {path.parent for path in paths.RUNS.glob("*/kimg-*.pt")}
    return RunFolder(folder)


def change(path: Path, **changes: Any) -> None:
    """Change values of the state of a checkpoint, whose checksum is then right again."""
    content = load_with_checksum(path)
    content["state"] |= changes
    save_with_checksum(content, path)


@pytest.mark.parametrize("seed", range(3))
def test_a_stretch_trained_again_is_equal(copy: Project, seed: int) -> None:
    before = {path.name: path.read_bytes() for path in only_run().path.iterdir()}
    assert "trained again, is equal bit for bit" in verify(None, seed)
    assert {path.name: path.read_bytes() for path in only_run().path.iterdir()} == before


def test_a_run_can_be_named(copy: Project) -> None:
    assert only_run().path.name in verify(only_run().path.name, 0)
    with pytest.raises(MintError, match="nothing does not exist; name a folder in"):
        verify("nothing", 0)


def test_what_differs_first_is_named(copy: Project) -> None:
    last = only_run().checkpoints()[-1]
    for other in only_run().checkpoints()[:-2]:
        other.unlink()
    content = load_with_checksum(last)
    content["state"]["trainer"]["ema"]["layers.1.weight"][0] += 1e-3
    save_with_checksum(content, last)
    with pytest.raises(
        MintError, match=r"state.trainer.ema.layers.1.weight differs first \(by up to 1.0e-03\)"
    ) as error:
        verify(None, 0)
    assert "nothing that is recorded has changed since" in str(error.value)


@pytest.mark.parametrize(
    ("kind", "key", "value", "named"),
    [
        ("params", "train", {"generator_lr": 0.5}, "params: train.generator_lr 0.001 -> 0.5"),
        ("code", "training/gan/losses.py", "0" * 64, "code: training/gan/losses.py"),
        ("library", "torch", "1.0", f"library: torch 1.0 -> {version('torch')}"),
        ("processor", "threads", 99, f"processor: threads 99 -> {torch.get_num_threads()}"),
    ],
)
def test_what_has_changed_since_is_named_when_a_stretch_differs(
    copy: Project, kind: str, key: str, value: Any, named: str
) -> None:
    first, last = only_run().checkpoints()[-2:]
    for other in only_run().checkpoints()[:-2]:
        other.unlink()
    content = load_with_checksum(first)
    environment = content["environment"][kind]
    environment[key] = environment[key] | value if isinstance(value, dict) else value
    save_with_checksum(content, first)
    change(last, images_seen=load_with_checksum(last)["state"]["images_seen"], pending={})
    with pytest.raises(MintError, match="cannot be repeated") as error:
        verify(None, 0)
    assert named in str(error.value)


def test_other_images_are_refused(copy: Project) -> None:
    configure(copy.folder, batch=8)
    write_params(copy.folder, **tiny(data={"source": SOURCE, "limit": 60}, train={"batch": 8}))
    preprocess.main()
    with pytest.raises(MintError, match="the prepared images are not those of .*; run dvc repro with its data first"):
        verify(None, 0)


def test_one_checkpoint_is_too_few(copy: Project, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints = only_run().checkpoints()
    for checkpoint in checkpoints[:-2]:
        checkpoint.unlink()
    damaged = bytearray(checkpoints[-1].read_bytes())
    damaged[1000] ^= 1
    checkpoints[-1].write_bytes(damaged)
    with pytest.raises(MintError, match="has 1 intact checkpoints, too few .*; raise train.keep_checkpoints"):
        verify(None, 0)
    assert "and is left out" in capsys.readouterr().out


def test_without_a_run_there_is_nothing_to_verify(copy: Project) -> None:
    shutil.rmtree(paths.RUNS)
    with pytest.raises(MintError, match="has no run; make train starts one"):
        verify(None, 0)
