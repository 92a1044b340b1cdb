"""The pipeline as people run it: `dvc repro` in a clone, from images to a served file."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.generator import Generator
from tests.training.project import tiny, write_params
from training import paths

ROOT = Path(__file__).parents[1]
SOURCE = "data/fashion-mnist-10k"
DVC = [sys.executable, "-m", "dvc"]


class Clone:
    """A git checkout of the pipeline with parameters that take seconds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("training", "serving", "presets", SOURCE):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "dvc.yaml", folder)
        self.configure()
        author = ["-c", "user.name=Someone", "-c", "user.email=someone@example.org"]
        for command in (
            ["git", "init", "-q"],
            [*DVC, "init", "-q"],
            [*DVC, "config", "core.analytics", "false"],
            ["git", "add", "-A"],
            ["git", *author, "commit", "-q", "-m", "first"],
        ):
            subprocess.run(command, cwd=folder, check=True)

    def configure(self, length: str = "1 epochs", **changes: Any) -> None:
        train = {"length": length, "batch": 16, "checkpoint_kimg": 0.064} | changes
        data, evaluate = {"source": SOURCE, "limit": 256}, {"images": 32, "classifier_epochs": 1}
        write_params(self.folder, **tiny(data=data, train=train, evaluate=evaluate))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*DVC, *arguments], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def dvc(self, *arguments: str) -> str:
        process = self.start(*arguments)
        output = process.communicate(timeout=120)[0]
        assert process.returncode == 0, output
        return output

    def model(self) -> Generator:
        return Generator.load(self.folder / paths.MODEL, provider="cpu")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which the pipeline has run once."""
    made = Clone(tmp_path_factory.mktemp("clone"))
    made.dvc("repro")
    return made


def test_one_command_goes_from_images_to_a_measured_model(clone: Clone) -> None:
    model = clone.model()
    assert model.card.shape == "28x28x1, 10 classes"
    metrics = json.loads((clone.folder / paths.METRICS).read_text())
    assert metrics["model_id"] == model.model_id
    assert (clone.folder / paths.EVALUATION_SHEET).exists()


def test_a_second_run_trains_nothing(clone: Clone) -> None:
    before = clone.model().model_id
    output = clone.dvc("repro")
    assert "Stage 'train' didn't change, skipping" in output
    assert "Stage 'evaluate' didn't change, skipping" in output
    assert clone.model().model_id == before


def test_changed_images_are_noticed(clone: Clone) -> None:
    classes = clone.folder / SOURCE / "classes.txt"
    kept = classes.read_text()
    try:
        classes.write_text(kept.replace("Bag", "Handbag"))
        assert "Running stage 'train'" in clone.dvc("repro")
        assert "Handbag" in clone.model().card.classes
    finally:
        classes.write_text(kept)


def test_a_pipeline_killed_in_training_goes_on_from_the_last_checkpoint(clone: Clone) -> None:
    clone.configure("100000 epochs", seed=1)
    dvc = clone.start("repro")
    trainer, reached = wait_for_training(clone, dvc)
    os.kill(trainer, signal.SIGKILL)
    assert dvc.wait(timeout=60) != 0

    clone.configure(f"{reached + 1} kimg", seed=1)
    output = clone.dvc("repro")

    assert "going on from " in output
    assert clone.model().card.images_seen == pytest.approx((reached + 1) * 1000, abs=16)


def test_a_typo_in_the_parameters_names_the_right_key(clone: Clone) -> None:
    params = clone.folder / paths.PARAMS
    params.write_text(params.read_text().replace("batch:", "bacth:"))
    dvc = clone.start("repro")
    output = dvc.communicate(timeout=60)[0]
    clone.configure()
    assert dvc.returncode != 0
    assert "error: params.yaml: train.bacth is not a parameter; did you mean train.batch?" in output
    assert "Traceback" not in output


def test_a_fresh_clone_has_its_model_without_training(tmp_path: Path) -> None:
    """Fails when code or parameters of a stage were committed without what the stage makes of them."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path / "clone")], check=True)
    committed = (tmp_path / "clone" / paths.MODEL).read_bytes()
    repro = subprocess.run(
        [*DVC, "repro", "--allow-missing"], cwd=tmp_path / "clone", capture_output=True, text=True, timeout=60
    )
    assert repro.returncode == 0, repro.stdout + repro.stderr
    assert re.findall(r"Running stage '(\w+)'", repro.stdout) == ["preprocess"]
    assert (tmp_path / "clone" / paths.MODEL).read_bytes() == committed


def test_make_trains_a_preset_on_images_at_any_path_as_an_experiment(clone: Clone) -> None:
    """Through make, the shell, DVC and the stages; the values' other shapes are test_experiment's."""
    clone.configure()
    shutil.copy(ROOT / "Makefile", clone.folder)
    odd = clone.folder / 'it\'s a "$(path)" [x], #1 $HOME 花 {y} & z=1.npz'
    np.savez(odd, images=np.random.RandomState(0).randint(0, 256, (160, 28, 28, 1)).astype(np.uint8))
    # The environment of this test stands for .venv, which is there.
    command = ["make", "-o", ".venv/.ready", "train", f"SOURCE={odd}", "PRESET=digits-gan", "MINUTES=0.005"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=clone.folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr

    card = clone.model().card
    assert card.params["data"]["source"] == odd.name
    assert (card.params["network"]["name"], card.params["network"]["latent_dim"]) == ("dense", 100)
    assert len(re.findall(r"digits-gan-\d{4}-\d{6}", clone.dvc("exp", "list"))) == 1


def wait_for_training(clone: Clone, dvc: subprocess.Popen[str]) -> tuple[int, float]:
    """The process that trains, and the kimg of its newest checkpoint once there is one."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert dvc.poll() is None, dvc.stdout and dvc.stdout.read()
        for lock in (clone.folder / paths.RUNS).glob("*/lock"):
            holder = lock.read_text()
            checkpoints = sorted(lock.parent.glob("kimg-*"))
            if holder and Path(f"/proc/{holder}").exists() and checkpoints:
                return int(holder), float(checkpoints[-1].stem.removeprefix("kimg-"))
        time.sleep(0.1)
    raise AssertionError("no checkpoint was written")
