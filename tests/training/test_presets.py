"""Presets: each one is a recipe that trains, exports and serves, and says where it comes from."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from serving.errors import MintError
from serving.generator import Generator
from tests.serving.conftest import served
from tests.training.project import COMMITTED_PARAMS, Project
from training import export, paths, preprocess, presets, train
from training.gan import GAN

SOURCE = str(COMMITTED_PARAMS.parent / "data/fashion-mnist-10k")
ASKED_FOR = {
    "default",
    "flowers-28",
    "flowers-64",
    "anime-dcgan",
    "anime-wgan",
    "anime-wgan-gp",
    "digits-gan",
    "digits-dcgan",
    "latent-1",
    "latent-10",
    "latent-50",
    "r3gan",
    "few-shot",
}


def write_with_preset(folder: Path, name: str) -> None:
    """The committed params.yaml under a preset, at an eighth of its widths, for three steps of 8 images."""
    params = presets.overlay(yaml.safe_load(COMMITTED_PARAMS.read_text()), presets.load_preset(name).values)
    widths = {side: max(8, params["network"][side] // 8) for side in ("generator_width", "discriminator_width")}
    kimg = 3 * 8 * params["train"]["discriminator_steps"] / 1000
    few = {
        "data": {"source": SOURCE, "limit": 64},
        "network": widths,
        "train": {"batch": 8, "length": f"{kimg} kimg", "sheet_epochs": [], "device": "cpu"},
    }
    (folder / paths.PARAMS).write_text(yaml.safe_dump(presets.overlay(params, few)))


def test_every_recipe_of_the_sources_has_its_preset() -> None:
    assert set(presets.names()) == ASKED_FOR
    assert presets.names()[0] == "default"


@pytest.mark.parametrize("name", sorted(ASKED_FOR))
def test_a_preset_trains_exports_and_serves(project: Project, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write_with_preset(project.folder, name)
    steps = []
    step = GAN.step
    monkeypatch.setattr(GAN, "step", lambda gan, batches: steps.append(gan.steps) or step(gan, batches))
    for stage in (preprocess, train, export):
        stage.main()
    assert steps == [0, 1, 2]

    generator = Generator.load(paths.MODEL, provider="cpu")
    values = presets.load_preset(name).values
    assert generator.card.latent_dim == values["network"]["latent_dim"]
    for call in served(generator.path):
        response = call("POST", "/generate", json={"seeds": [7], "format": "npy"})
        assert response.status_code == 200, response.text
        pixels = np.frombuffer(response.content[-(generator.card.resolution**2) * generator.card.channels :], np.uint8)
        assert pixels.std() > 0


def test_the_default_preset_is_what_params_yaml_holds() -> None:
    committed = yaml.safe_load(COMMITTED_PARAMS.read_text())
    default = presets.load_preset("default").values
    assert set(default) == set(presets.RECIPE)
    assert presets.overlay(committed, default) == committed
    # Whole: every parameter that shapes a recipe is stated, so that a preset leaves nothing of the one before.
    whole = {key: committed[key] for key in presets.RECIPE}
    assert set(presets.leaves(whole)) - set(presets.leaves(default)) == {
        f"train.{name}" for name in ("seed", "device", "checkpoint_kimg", "keep_checkpoints", "sheet_epochs")
    }


def test_two_presets_tried_one_after_the_other_do_not_mix() -> None:
    committed = yaml.safe_load(COMMITTED_PARAMS.read_text())
    wgan = presets.overlay(committed, presets.load_preset("anime-wgan-gp").values)
    both = presets.overlay(wgan, presets.load_preset("flowers-28").values)
    assert both == presets.overlay(committed, presets.load_preset("flowers-28").values)


def test_a_preset_states_only_what_differs_from_its_base() -> None:
    flowers, latent = presets.load_preset("flowers-28").values, presets.load_preset("latent-10").values
    assert latent["network"] == flowers["network"] | {"latent_dim": 10}
    assert {key: latent[key] for key in latent if key != "network"} == {
        key: flowers[key] for key in flowers if key != "network"
    }


@pytest.mark.parametrize(
    ("name", "hint"), [("flower-64", r"did you mean flowers-64\?"), ("../params", "there are default, ")]
)
def test_a_name_without_a_preset_is_answered_with_those_there_are(name: str, hint: str) -> None:
    with pytest.raises(MintError, match=f"{name} is not a preset; {hint}"):
        presets.load_preset(name)


def test_the_list_names_the_source_and_the_purpose_of_each() -> None:
    done = subprocess.run([sys.executable, "-m", "training.presets"], capture_output=True, text=True, check=True)
    for name in ASKED_FOR:
        preset = presets.load_preset(name)
        assert f"{name:15} {preset.shows}" in done.stdout
        assert f"source: {preset.source}" in done.stdout
