"""Tests of the presets: each one trains, exports, is served, matches its source and names it."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from serving.errors import MintError
from serving.inference.generator import OnnxGenerator
from tests.serving.conftest import serve_model
from tests.training.project import COMMITTED_PARAMS, Project
from training import export, networks, paths, preprocess, presets, train
from training.gan.optimizers import schedule_values
from training.params import Params, load_params, validate_params
from training.torch_files import load_with_checksum

pytestmark = pytest.mark.usefixtures("no_run_page")

SOURCE = str(COMMITTED_PARAMS.parent / "data/fashion-mnist-10k")
FULL_SIZE = {"r3gan-cifar10", "r3gan-ffhq-64"}  # the layers of r3gan, too wide to be trained here
PRESETS = {
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
    *FULL_SIZE,
    "few-shot",
    "photos",
    "sprites",
}


def write_with_preset(folder: Path, name: str) -> None:
    """The committed params.yaml under a preset, at an eighth of its widths, for three steps of 8 images."""
    params = presets.deep_merge(yaml.safe_load(COMMITTED_PARAMS.read_text()), presets.load_preset(name).values)
    widths = {side: max(8, params["network"][side] // 8) for side in ("generator_width", "discriminator_width")}
    kimg = 3 * 8 * params["train"]["discriminator_steps"] / 1000
    few = {
        "data": {"source": SOURCE, "limit": 64},
        "network": widths,
        "train": {"batch": 8, "length": f"{kimg} kimg", "sheet_epochs": [], "device": "cpu"},
    }
    (folder / paths.PARAMS).write_text(yaml.safe_dump(presets.deep_merge(params, few)))


def test_all_presets_are_listed_and_the_default_comes_first() -> None:
    assert set(presets.preset_names()) == PRESETS
    assert presets.preset_names()[0] == "default"


@pytest.mark.parametrize("name", sorted(PRESETS - FULL_SIZE))
def test_a_preset_trains_exports_and_serves(project: Project, name: str) -> None:
    write_with_preset(project.folder, name)
    for stage in (preprocess, train, export):
        stage.main()
    steps = load_with_checksum(paths.GENERATOR_WEIGHTS)["images_seen"] / 8 / load_params().train.discriminator_steps
    assert steps == 3

    generator = OnnxGenerator.load(paths.CANDIDATE_MODEL, provider="cpu")
    values = presets.load_preset(name).values
    assert generator.card.latent_dim == values["network"]["latent_dim"]
    for call in serve_model(generator.path):
        response = call("POST", "/generate", json={"seeds": [7], "format": "npy"})
        assert response.status_code == 200, response.text
        pixels = np.frombuffer(response.content[-math.prod(generator.card.image_shape) :], np.uint8)
        assert pixels.std() > 0


def with_preset(name: str) -> Params:
    committed = yaml.safe_load(COMMITTED_PARAMS.read_text())
    return validate_params(presets.deep_merge(committed, presets.load_preset(name).values), f"the preset {name}")


@pytest.mark.parametrize("name", ["flowers-28", "flowers-64"])
def test_the_flowers_presets_have_the_learning_rates_batch_and_label_noise_of_their_source(name: str) -> None:
    params = with_preset(name)
    assert (params.train.generator_optimizer, params.train.discriminator_optimizer) == ("adam", "adam")
    assert (params.train.generator_lr, params.train.discriminator_lr) == (1e-4, 1e-5)
    assert (params.train.beta1, params.train.beta2, params.train.batch) == (0.9, 0.999, 128)
    assert params.stabilise.label_noise == 0.15  # of reals and of fakes alike, see soften_labels


@pytest.mark.parametrize(
    ("name", "parameters"), [("anime-dcgan", 4_316_673), ("anime-wgan", 4_316_673), ("anime-wgan-gp", 4_314_753)]
)
def test_the_anime_discriminators_have_the_number_of_parameters_of_their_source(name: str, parameters: int) -> None:
    with torch.device("meta"):
        discriminator = networks.build_discriminator(with_preset(name), None)
    assert sum(parameter.numel() for parameter in discriminator.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "gamma", "rate", "batch", "half_life"),
    [
        ("r3gan-cifar10", (0.05, 0.005), (2e-4, 5e-5), 512, 5000),
        ("r3gan-ffhq-64", (2.0, 0.2), (2e-4, 5e-5), 256, 500),
        ("r3gan", (1.0, 0.1), (2e-4, 2e-4), 64, 10),
    ],
)
def test_r3gan_starts_and_ends_its_burn_in_at_the_values_of_its_configurations(
    name: str, gamma: tuple[float, float], rate: tuple[float, float], batch: int, half_life: float
) -> None:
    params = with_preset(name)
    objective, train = params.objective, params.train
    assert objective.r1 == objective.r2
    schedules = [schedule_values(train, 0), schedule_values(train, int(train.burn_in.kimg * 1000))]
    assert [objective.r1 * values.penalty_factor for values in schedules] == pytest.approx(gamma)
    assert [train.discriminator_lr * values.lr_factor for values in schedules] == pytest.approx(rate)
    assert [values.beta2 for values in schedules] == pytest.approx([0.9, 0.99])
    assert (train.beta1, train.batch, train.ema_half_life_kimg) == (0.0, batch, half_life)
    assert train.generator_lr == train.discriminator_lr
    with torch.device("meta"):
        networks.build(params, torch.eye(10))


def test_the_default_preset_is_what_params_yaml_holds() -> None:
    committed = yaml.safe_load(COMMITTED_PARAMS.read_text())
    default = presets.load_preset("default").values
    assert set(default) == set(presets.PRESET_SECTIONS)
    assert presets.deep_merge(committed, default) == committed
    # Every other parameter of these sections is set, so that a preset leaves nothing of the previous one.
    whole = {key: committed[key] for key in presets.PRESET_SECTIONS}
    assert set(presets.flatten(whole)) - set(presets.flatten(default)) == {
        *(f"train.{name}" for name in ("seed", "device", "checkpoint_kimg", "keep_checkpoints", "sheet_epochs")),
        *(f"train.{name}" for name in ("doctor", "loggers", "deterministic")),
    }


def test_a_preset_overrides_every_parameter_of_the_previous_one() -> None:
    committed = yaml.safe_load(COMMITTED_PARAMS.read_text())
    wgan = presets.deep_merge(committed, presets.load_preset("anime-wgan-gp").values)
    both = presets.deep_merge(wgan, presets.load_preset("flowers-28").values)
    assert both == presets.deep_merge(committed, presets.load_preset("flowers-28").values)


def test_a_preset_states_only_what_differs_from_its_base() -> None:
    flowers, latent = presets.load_preset("flowers-28").values, presets.load_preset("latent-10").values
    assert latent["network"] == flowers["network"] | {"latent_dim": 10}
    assert {key: latent[key] for key in latent if key != "network"} == {
        key: flowers[key] for key in flowers if key != "network"
    }


@pytest.mark.parametrize(
    ("name", "hint"), [("flower-64", r"did you mean flowers-64\?"), ("../params", "there are default, ")]
)
def test_an_unknown_preset_is_an_error_with_a_suggestion(name: str, hint: str) -> None:
    with pytest.raises(MintError, match=f"{name} is not a preset; {hint}"):
        presets.load_preset(name)


def test_the_list_names_the_source_and_the_purpose_of_each() -> None:
    done = subprocess.run([sys.executable, "-m", "training.presets"], capture_output=True, text=True, check=True)
    for name in PRESETS:
        preset = presets.load_preset(name)
        assert f"{name:15} {preset.shows}" in done.stdout
        assert f"source: {preset.source}" in done.stdout
