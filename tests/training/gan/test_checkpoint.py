"""Tests of the fingerprint of a run: which parameters, data and code it covers, and which not."""

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.training.project import FAMILIES, TINY, invented_manifest, tiny_params
from training import stage_code
from training.gan.checkpoint import fingerprint

HAIR = (("aqua hair", "red eyes"), ("red eyes",))


def run_fingerprint(
    sections: dict[str, dict[str, Any]] | None = None, tags: tuple[Any, ...] = HAIR, **manifest: Any
) -> str:
    return fingerprint(tiny_params(**(sections or {})), invented_manifest(*tags, **manifest))


@pytest.mark.parametrize(
    "sections",
    [
        {"network": FAMILIES["dense"]},
        {"network": {"generator_width": 5}},
        {"network": {"condition": "auxiliary"}},
        {"network": {"spectral_norm": True}},
        {"objective": {"name": "hinge"}},
        {"objective": {"r1": 0.1}},
        {"objective": {"gradient_penalty": 0.1}},
        {"objective": {"mismatched": True}},
        {"stabilise": {"label_flip": 0.1}},
        {"stabilise": {"instance_noise": 0.1, "instance_noise_kimg": 1}},
        {"stabilise": {"augment": "ada"}},
        {"stabilise": {"packing": 2}, "network": {"condition": "none"}},
        {"stabilise": {"replay": 100}},
        {"stabilise": {"gradient_clip": 1.0}},
        {"train": {"discriminator_steps": 2}},
        {"train": {"generator_optimizer": "sgd"}},
        {"train": {"burn_in": {"kimg": 1, "penalty_factor": 1, "rate_factor": 1, "beta2": 0.9}}},
        {"train": {"rotation": 5.0}},
        {"train": {"seed": 1}},
    ],
)
def test_a_parameter_that_affects_training_changes_the_fingerprint(sections: dict[str, dict[str, Any]]) -> None:
    assert run_fingerprint(sections) != run_fingerprint()


@pytest.mark.parametrize(
    "tags", [(("aqua hair",), ("red eyes",)), (("red eyes",), ("aqua hair", "red eyes")), HAIR[:1], ()]
)
def test_other_tags_change_the_fingerprint(tags: tuple[tuple[str, ...], ...]) -> None:
    assert run_fingerprint(tags=tags) != run_fingerprint()


def test_other_images_change_the_fingerprint() -> None:
    assert run_fingerprint(data_sha256="1" * 64) != run_fingerprint()


@pytest.mark.parametrize(
    "train",
    [
        {"length": "9 minutes"},
        {"checkpoint_kimg": 1},
        {"keep_checkpoints": 7},
        {"sheet_epochs": [3]},
        {"device": "auto"},
    ],
)
def test_length_checkpoints_and_device_do_not_change_the_fingerprint(train: dict[str, Any]) -> None:
    assert run_fingerprint({"train": train}) == run_fingerprint()


def test_the_name_of_the_data_does_not_change_the_fingerprint() -> None:
    assert run_fingerprint(copy.deepcopy(TINY), source="elsewhere") == run_fingerprint()


@pytest.fixture
def copied_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the code, which fingerprints are then computed from."""
    for package in stage_code.PACKAGES:
        shutil.copytree(stage_code.ROOT / package, tmp_path / package)
    monkeypatch.setattr(stage_code, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("part", ["gan/trainer.py", "gan/penalties.py", "train.py", "networks/r3gan.py"])
def test_a_change_of_the_training_code_changes_the_fingerprint(copied_code: Path, part: str) -> None:
    before = run_fingerprint()
    with (copied_code / "training" / part).open("a") as file:
        file.write("# changed\n")
    assert run_fingerprint() != before


def test_the_code_of_other_stages_does_not_change_the_fingerprint(copied_code: Path) -> None:
    before = run_fingerprint()
    with (copied_code / "training/data/sources/zips.py").open("a") as file:
        file.write("# changed\n")
    assert run_fingerprint() == before
