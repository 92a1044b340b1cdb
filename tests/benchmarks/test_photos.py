"""Photograph benchmark: the same images for every recipe, and results that are kept."""

import json
import sys
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import photos, trials
from serving.errors import MintError
from tests.training.project import write_params
from training import paths
from training.data.manifest import read_manifest
from training.fabric import make_fabric
from training.run_setup import Setup
from training.train import save_networks


def photographs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make noise in two classes in `photos/`, and work in the folder."""
    monkeypatch.chdir(folder)
    write_params(folder, evaluate={"images": 16, "classifier_epochs": 1})
    for index, name in enumerate(["red/a", "blue/b"]):
        (folder / "photos" / name).parent.mkdir(parents=True)
        for image in range(20):
            pixels = np.random.RandomState(100 * index + image).randint(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / f"{name}{image}.png")


@pytest.mark.parametrize("recipe", photos.RECIPES)
def test_every_recipe_differs_from_the_others_in_what_its_name_says_alone(recipe: str) -> None:
    params, preset = photos.recipe_params(recipe, "photos", seed=3), photos.recipe_params("photos", "photos", seed=3)
    assert params.data == preset.data
    assert params.evaluate == preset.evaluate
    assert (params.train.seed, params.train.horizontal_flip) == (3, 0.5)
    others = [photos.recipe_params(name, "photos", seed=3) for name in photos.RECIPES if name != recipe]
    assert params not in others


def test_recipes_are_trained_once_and_compared_in_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photographs(tmp_path, monkeypatch)
    arguments = ["photos", "photos", "--training", "0.2", "--workers", "1", "--only", "default", "photos, batch 16"]
    monkeypatch.setattr(sys, "argv", arguments)

    photos.main()
    first = {path: path.stat().st_mtime_ns for path in photos.RESULTS.glob("*.json")}
    photos.main()

    assert {path: path.stat().st_mtime_ns for path in photos.RESULTS.glob("*.json")} == first
    assert len(first) == 2
    assert all(path.with_suffix(".png").exists() for path in first)
    report = json.loads(photos.REPORT.read_text())
    assert {name: runs[0]["images"] for name, runs in report["recipes"].items()} == {
        "default": 16,
        "photos, batch 16": 16,
    }
    lines = capsys.readouterr().out.rstrip().splitlines()[-4:]
    assert {line.split(" | ")[0] for line in lines[2:]} == {"| default", "| photos, batch 16"}


def test_a_recipe_is_also_trained_from_the_weights_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photographs(tmp_path, monkeypatch)
    params = photos.recipe_params("default", "photos", seed=7)
    trials.prepare(params, tmp_path)
    manifest = read_manifest(tmp_path / trials.IMAGES / paths.MANIFEST)
    with chdir(tmp_path / trials.IMAGES):
        setup = Setup.of(params, manifest, make_fabric("cpu"), start=None)
    gan = setup.trainer(params)
    save_networks(gan, setup.data, setup.describe(gan), {"acts": []})
    paths.GENERATOR_WEIGHTS.rename("earlier.pt")
    arguments = ["photos", "photos", "--training", "0", "--workers", "1", "--only", "default", "--freeze", "2"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--start-from", "earlier.pt"])

    photos.main()

    report = json.loads(photos.REPORT.read_text())
    assert list(report["recipes"]) == ["default", "default, from earlier.pt", "default, from earlier.pt, FreezeD 2"]
    new, started, frozen = (runs[0]["kid"] for runs in report["recipes"].values())
    assert started == pytest.approx(frozen)  # the same weights, not trained at all
    assert started != pytest.approx(new)
    assert "| default, from earlier.pt, FreezeD 2 | " in capsys.readouterr().out


def test_freezing_layers_of_new_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["photos", "photos", "--freeze", "2"])
    with pytest.raises(MintError, match="--freeze is for runs with --start-from"):
        photos.main()


def test_a_misspelt_recipe_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["photos", "photos", "--only", "phtos"])
    with pytest.raises(MintError, match="did you mean photos"):
        photos.main()


def test_a_recipe_that_failed_has_dashes() -> None:
    report = {"recipes": {"default": [{"kimg": 1.0, "failed": "x"}], "photos": [{"kimg": 2.0, "kid": 0.25}]}}
    lines = photos.table(report).splitlines()
    assert lines[2] == "| photos | 0.250 | - | - | - | - | 2 |"
    assert lines[3] == "| default | - | - | - | - | - | 1 |"
