"""Tests of the training stage: its length, its outputs, resuming from a checkpoint, and divergence."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from serving.errors import MintError
from tests.training.gan.test_trainer import SCALARS
from tests.training.project import Project, tiny, tiny_params, write_params
from training import fabric, paths, preprocess, train
from training.budget import TrainingBudget
from training.data.manifest import read_manifest
from training.gan.checkpoint import RunFolder, fingerprint
from training.params import load_params
from training.torch_files import load_with_checksum

pytestmark = pytest.mark.usefixtures("no_run_page")

SOURCE = str(Path(__file__).parents[2] / "data/fashion-mnist-10k")
STEPS_PER_EPOCH = 4  # 64 images in batches of 16


def configure(
    project: Project,
    length: str,
    network: dict[str, Any] | None = None,
    objective: dict[str, Any] | None = None,
    stabilise: dict[str, Any] | None = None,
    **changes: Any,
) -> None:
    schedule = {"length": length, "batch": 16, "checkpoint_kimg": 0.032, "sheet_epochs": [1]} | changes
    data = {"source": SOURCE, "limit": 64}
    sections = {"network": network or {}, "objective": objective or {}, "stabilise": stabilise or {}}
    write_params(project.folder, **tiny(data=data, train=schedule, **sections))


@pytest.fixture
def ready(project: Project) -> Project:
    """A project whose images are prepared."""
    configure(project, "2 epochs")
    preprocess.main()
    return project


def ema_weights() -> dict[str, torch.Tensor]:
    """The EMA generator that training saved."""
    weights: dict[str, torch.Tensor] = torch.load(paths.GENERATOR_WEIGHTS, weights_only=True)["generator"]
    return weights


def run_folder() -> RunFolder:
    return RunFolder(paths.RUNS / fingerprint(load_params(), read_manifest()))


def newest_state() -> dict[str, Any]:
    """The state in the newest checkpoint."""
    state: dict[str, Any] = load_with_checksum(run_folder().checkpoints()[-1])["state"]
    return state


def points() -> list[str]:
    """The rows of the curve of the discriminator's loss."""
    return (paths.TRAIN_REPORT / "plots/metrics/d_loss.tsv").read_text().splitlines()[1:]


def test_a_run_saves_weights_curves_and_sample_grids(ready: Project) -> None:
    train.main()
    assert torch.load(paths.GENERATOR_WEIGHTS, weights_only=True)["images_seen"] == 2 * STEPS_PER_EPOCH * 16
    assert {path.name for path in paths.SAMPLES.iterdir()} == {"epoch-0001.png", "kimg-000000.128.jpg", "last.png"}
    assert Image.open(paths.SAMPLES / "last.png").height == 10 * 30 - 2
    assert paths.PROGRESS_GRID.read_bytes() == (paths.SAMPLES / "last.png").read_bytes()
    curves = {path.stem for path in (paths.TRAIN_REPORT / "plots/metrics").iterdir()}
    assert curves == SCALARS
    assert json.loads((paths.TRAIN_REPORT / "metrics.json").read_text())["kimg"] == 0.128


RUNS: dict[str, dict[str, Any]] = {
    "plain": {"horizontal_flip": 0.5},
    "everything with state": {
        "network": {"spectral_norm": True, "discriminator_dropout": 0.1, "condition": "auxiliary"},
        "objective": {"name": "hinge", "r1": 0.1},
        "stabilise": {"augment": "ada", "ada_kimg": 0.64, "replay": 40, "label_flip": 0.1}
        | {"instance_noise": 0.1, "instance_noise_kimg": 0.2},
        "discriminator_steps": 2,
        "burn_in": {"kimg": 0.2, "penalty_factor": 4.0, "rate_factor": 2.0, "beta2": 0.5},
        "rotation": 10.0,
    },
    "paired objective": {"objective": {"name": "relativistic", "r1": 0.1, "r2": 0.1}},
}


@pytest.mark.parametrize("run", RUNS)
def test_a_resumed_run_equals_an_uninterrupted_one(ready: Project, run: str) -> None:
    configure(ready, "5 epochs", **RUNS[run])
    train.main()
    expected, expected_points = ema_weights(), points()
    for checkpoint in run_folder().checkpoints():
        checkpoint.rename(ready.folder / checkpoint.name)

    configure(ready, "2 epochs", **RUNS[run])
    train.main()
    configure(ready, "5 epochs", **RUNS[run])
    train.main()

    assert all(torch.equal(value, expected[name]) for name, value in ema_weights().items())
    assert points() == expected_points


def test_a_length_counts_the_images_that_the_discriminator_learns_from(ready: Project) -> None:
    configure(ready, "2 epochs", discriminator_steps=3, objective={"name": "relativistic"}, sheet_epochs=[1, 2])
    train.main()
    state = newest_state()
    assert state["trainer"]["steps"] == 3
    assert state["images_seen"] == 144  # 48 at a step: the first to reach two epochs of 64
    assert {path.stem for path in paths.SAMPLES.glob("*.png")} == {"epoch-0001", "epoch-0002", "last"}


def test_a_finished_run_is_not_trained_again(ready: Project) -> None:
    train.main()
    before = [path.stat().st_mtime_ns for path in run_folder().checkpoints()]
    train.main()
    assert [path.stat().st_mtime_ns for path in run_folder().checkpoints()] == before


def test_a_shorter_length_does_not_reuse_the_longer_run(ready: Project) -> None:
    train.main()
    configure(ready, "1 epochs")
    train.main()
    assert torch.load(paths.GENERATOR_WEIGHTS, weights_only=True)["images_seen"] == STEPS_PER_EPOCH * 16


def test_only_the_newest_checkpoints_are_kept(ready: Project) -> None:
    configure(ready, "4 epochs", keep_checkpoints=3)
    train.main()
    assert [path.name for path in run_folder().checkpoints()] == [
        "kimg-000000.192.pt",
        "kimg-000000.224.pt",
        "kimg-000000.256.pt",
    ]


def test_a_changed_parameter_starts_a_fresh_run_and_a_longer_length_does_not(ready: Project) -> None:
    first = run_folder().path
    configure(ready, "9 epochs", keep_checkpoints=1, checkpoint_kimg=1)
    assert run_folder().path == first
    configure(ready, "2 epochs", generator_lr=1e-4)
    assert run_folder().path != first


def test_a_run_of_a_length_in_minutes_ends_by_itself_and_is_then_complete(ready: Project) -> None:
    configure(ready, "0.02 minutes")
    train.main()
    state = newest_state()
    assert state["seconds"] == 0.02 * 60
    train.main()
    assert newest_state()["trainer"]["steps"] == state["trainer"]["steps"] > 0


def test_a_length_in_minutes_counts_seconds_of_training_alone() -> None:
    budget = TrainingBudget.of(tiny_params(train={"length": "2 minutes", "batch": 16}).train, images=64)
    assert budget.progress(steps=10**9, seconds=119) == pytest.approx(119 / 120)
    assert budget.progress(steps=0, seconds=120) == 1
    assert budget.covers({"trainer": {"steps": 10**9}, "seconds": 120})
    assert not budget.covers({"trainer": {"steps": 0}, "seconds": 121})


@pytest.mark.parametrize(
    ("text", "batches", "steps"),
    [
        ("3 epochs", 1, 3 * 156),
        ("20 kimg", 1, 313),
        ("0.5 epochs", 1, 78),
        ("1 epoch", 1, 156),
        ("1 epoch", 2, 78),  # two discriminator steps in one training step
        ("1 epoch", 5, 32),
        ("20 kimg", 5, 63),
    ],
)
def test_a_length_counts_whole_steps(text: str, batches: int, steps: int) -> None:
    schedule = tiny_params(train={"length": text, "batch": 64, "discriminator_steps": batches}).train
    budget = TrainingBudget.of(schedule, images=10_000)  # 156 batches, and 16 images that an epoch leaves out
    assert budget.steps == steps
    assert budget.progress(steps, seconds=0) == 1
    assert budget.progress(steps - 1, seconds=1e9) < 1


def test_a_diverged_run_stops_with_an_error_and_saves_no_checkpoint(ready: Project) -> None:
    train.main()
    saved = newest_state()
    saved["trainer"]["discriminator"]["head.weight"].fill_(float("nan"))
    last = run_folder().save(saved, keep=2)
    configure(ready, "4 epochs")
    with pytest.raises(MintError, match="a loss is not a number; lower train.generator_lr"):
        train.main()
    assert run_folder().checkpoints()[-1] == last


def test_cuda_without_a_gpu_is_an_error(ready: Project) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    configure(ready, "1 epochs", device="cuda")
    with pytest.raises(MintError, match="train.device is cuda .* set it to auto or cpu"):
        train.main()


@pytest.mark.parametrize(("has_units", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_gpu_trains_in_bf16_only_with_hardware_support_and_says_so_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], has_units: bool, precision: str
) -> None:
    # torch's answer for a GPU that could emulate bf16.
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: has_units or including_emulation
    )
    assert fabric.choose_precision(on_gpu=True) == precision
    printed = capsys.readouterr().out
    assert printed == ("" if has_units else "this GPU has no bfloat16 units: training in float32\n")
    assert fabric.choose_precision(on_gpu=False) == "32-true"
