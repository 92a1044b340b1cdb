"""A run goes on under its name as long as nothing that shapes it changes."""

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.training.project import FAMILIES, TINY, invented_manifest, tiny_params
from training import stage_code
from training.gan.checkpoint import fingerprint

HAIR = (("aqua hair", "red eyes"), ("red eyes",))


def name(sections: dict[str, dict[str, Any]] | None = None, tags: tuple[Any, ...] = HAIR, **manifest: Any) -> str:
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
def test_what_shapes_a_run_makes_it_another(sections: dict[str, dict[str, Any]]) -> None:
    assert name(sections) != name()


@pytest.mark.parametrize(
    "tags", [(("aqua hair",), ("red eyes",)), (("red eyes",), ("aqua hair", "red eyes")), HAIR[:1], ()]
)
def test_other_tags_make_it_another_run(tags: tuple[tuple[str, ...], ...]) -> None:
    assert name(tags=tags) != name()


def test_other_images_make_it_another_run() -> None:
    assert name(data_sha256="1" * 64) != name()


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
def test_how_far_it_goes_and_what_it_leaves_on_the_way_does_not(train: dict[str, Any]) -> None:
    assert name({"train": train}) == name()


def test_the_same_run_has_the_same_name_whatever_the_data_is_called() -> None:
    assert name(copy.deepcopy(TINY), source="elsewhere") == name()


@pytest.fixture
def copied_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the code, from which names are made."""
    for package in stage_code.PACKAGES:
        shutil.copytree(stage_code.ROOT / package, tmp_path / package)
    monkeypatch.setattr(stage_code, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("part", ["gan/trainer.py", "gan/penalties.py", "train.py", "networks/r3gan.py"])
def test_a_run_trained_by_other_code_is_another(copied_code: Path, part: str) -> None:
    before = name()
    with (copied_code / "training" / part).open("a") as file:
        file.write("# changed\n")
    assert name() != before


def test_a_run_is_the_same_whatever_the_code_of_other_stages_says(copied_code: Path) -> None:
    before = name()
    with (copied_code / "training/data/sources/zips.py").open("a") as file:
        file.write("# changed\n")
    assert name() == before
