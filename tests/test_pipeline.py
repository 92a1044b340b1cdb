"""End-to-end tests of the pipeline: `dvc repro` in a clone, from images to the exported model."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import md5, sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from serving.inference.generator import OnnxGenerator
from tests.training.project import tiny, write_params
from training import evaluate, export, paths, preprocess, promote, train
from training.model_versions import CANDIDATE, SERVED
from training.param_sections import Section
from training.params import Params

ROOT = Path(__file__).parents[1]
SOURCE = "data/fashion-mnist-10k"
DVC = [sys.executable, "-m", "dvc"]
# Stages leave compiled modules beside the code, as they do for users: no dependency may change by that.
WITH_COMPILED_MODULES = {"PYTHONDONTWRITEBYTECODE": ""}


class Clone:
    """A git checkout of the pipeline with parameters that take seconds."""

    first_outputs: dict[str, str]

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
            ["cp", str(ROOT / ".dvcignore"), "."],
            ["git", "add", "-A"],
            ["git", *author, "commit", "-q", "-m", "first"],
        ):
            subprocess.run(command, cwd=folder, check=True)

    def configure(self, length: str = "1 epochs", **changes: Any) -> None:
        # Fast learning, because a model whose images are still of one colour is not promoted.
        fast = {"generator_lr": 0.01, "ema_half_life_kimg": 0.0}
        train = {"length": length, "batch": 16, "checkpoint_kimg": 0.064} | fast | changes
        data, evaluate = {"source": SOURCE, "limit": 256}, {"images": 32, "classifier_epochs": 1}
        bounds = {"min_diversity": 0.0, "min_precision": 0.0, "tolerance": 1000.0}  # so few steps make noise
        write_params(self.folder, **tiny(data=data, train=train, evaluate=evaluate, promote=bounds))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*DVC, *arguments],
            cwd=self.folder,
            # DVC runs stages in $SHELL. Equal thread counts, because the bytes are compared with those of this process.
            env=os.environ
            | WITH_COMPILED_MODULES
            | {"SHELL": "/bin/sh", "OMP_NUM_THREADS": str(torch.get_num_threads())},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def dvc(self, *arguments: str) -> str:
        process = self.start(*arguments)
        output = process.communicate(timeout=400)[0]
        assert process.returncode == 0, output
        return output

    def model(self) -> OnnxGenerator:
        """The served model."""
        return OnnxGenerator.load(self.folder / paths.MODEL, provider="cpu")

    def candidate(self) -> OnnxGenerator:
        """What `export` made last."""
        return OnnxGenerator.load(self.folder / paths.CANDIDATE_MODEL, provider="cpu")


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every output of the pipeline."""
    files = [path for name in ("data/prepared", "models", "reports") for path in (folder / name).rglob("[!.]*")]
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()
    }


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which the pipeline has run once."""
    made = Clone(tmp_path_factory.mktemp("clone"))
    made.dvc("repro")
    made.first_outputs = hashes(made.folder)
    return made


class ParamRecorder:
    """Records the parameters that a stage reads, as dotted keys; dumping a section reads all of it."""

    def __init__(self) -> None:
        self.keys: dict[str, set[str]] = {}
        self._stage: str | None = None
        self._sections = {Params: ""} | dict(self._below(Params, ""))

    def _below(self, section: type[Section], prefix: str) -> Iterator[tuple[type[Section], str]]:
        for name, field in section.model_fields.items():
            nested = field.annotation
            if isinstance(nested, type) and issubclass(nested, Section):
                yield nested, f"{prefix}{name}."
                yield from self._below(nested, f"{prefix}{name}.")

    def run(self, module: ModuleType, patch: pytest.MonkeyPatch) -> None:
        """Run a stage. Reads during validation of params.yaml are not recorded, as they shape no output."""
        load = module.load_params

        def load_and_record() -> Params:
            params: Params = load()
            self._stage = module.__name__.removeprefix("training.")
            self.keys[self._stage] = set()
            return params

        patch.setattr(module, "load_params", load_and_record)
        module.main()
        self._stage = None

    def record(self, section: Section, attribute: str) -> None:
        """Record the read of an attribute of a section."""
        prefix = self._sections.get(type(section))
        if self._stage is None or prefix is None:
            return
        if attribute.startswith("model_dump"):
            self.keys[self._stage] |= {prefix.removesuffix(".")} if prefix else set(Params.model_fields)
        elif attribute in type(section).model_fields and type(section).model_fields[attribute].annotation not in (
            self._sections
        ):
            self.keys[self._stage].add(prefix + attribute)


@dataclass
class StageRuns:
    """A clone of the clone in which each stage was run on its own."""

    folder: Path
    reads: dict[str, set[str]]  # by stage


@pytest.fixture(scope="module")
def copy(clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> StageRuns:
    """Run the stages in this process, without DVC."""
    folder = tmp_path_factory.mktemp("elsewhere") / "copy"
    subprocess.run(["git", "clone", "-q", str(clone.folder), str(folder)], check=True)
    recorder = ParamRecorder()
    get = Section.__getattribute__

    def recording(section: Section, attribute: str) -> Any:
        recorder.record(section, attribute)
        return get(section, attribute)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(Section, "__getattribute__", recording)
        for module in (preprocess, train, export, evaluate, promote):
            recorder.run(module, patch)
            torch.set_flush_denormal(False)  # set by train; must not affect the next stage
    return StageRuns(folder, recorder.keys)


def test_another_clone_produces_the_same_bytes(clone: Clone, copy: StageRuns) -> None:
    made = hashes(copy.folder)
    assert {"data/prepared/images.npy", "models/generator.pt", "models/generator.onnx", "reports/metrics.json"} < set(
        made
    )
    assert made == clone.first_outputs


@pytest.mark.parametrize("stage", ["preprocess", "train", "export", "evaluate", "promote"])
def test_a_stage_depends_on_every_parameter_that_it_reads(copy: StageRuns, stage: str) -> None:
    listed = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]["params"]
    read = copy.reads[stage]
    assert read
    missing = {key for key in read if not any(key == name or key.startswith(f"{name}.") for name in listed)}
    assert not missing, f"add to the params of {stage} in dvc.yaml: {sorted(missing)}"


def test_one_command_runs_from_images_to_an_evaluated_model(clone: Clone) -> None:
    model = clone.model()
    assert model.card.shape == "28x28x1, 10 classes"
    metrics = json.loads((clone.folder / paths.METRICS).read_text())
    assert metrics["model_id"] == model.model_id
    assert (clone.folder / paths.EVALUATION_GRID).exists()


def test_a_second_run_trains_nothing(clone: Clone) -> None:
    before = clone.model().model_id
    output = clone.dvc("repro")
    assert "Stage 'train' didn't change, skipping" in output
    assert "Stage 'evaluate' didn't change, skipping" in output
    assert clone.model().model_id == before


def test_a_rollback_stays_and_costs_no_run(clone: Clone) -> None:
    first = clone.model().model_id
    clone.configure(seed=7)
    assert "promoted: " in clone.dvc("repro")
    second = clone.model().model_id
    assert second != first
    done = subprocess.run(
        [sys.executable, "-m", "training.promote", "--rollback"], cwd=clone.folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    output = clone.dvc("repro")
    clone.configure()
    assert "Stage 'promote' didn't change, skipping" in output
    assert clone.model().model_id == first


def test_changed_data_retrains(clone: Clone) -> None:
    classes = clone.folder / SOURCE / "classes.txt"
    kept = classes.read_text()
    try:
        classes.write_text(kept.replace("Bag", "Handbag"))
        assert "Running stage 'train'" in clone.dvc("repro", "export")
        assert "Handbag" in clone.candidate().card.classes
    finally:
        classes.write_text(kept)


def test_training_stops_with_its_dvc_process_and_resumes_with_the_next(clone: Clone) -> None:
    clone.configure("100000 epochs", seed=1)
    dvc = clone.start("repro")
    wait_for_training(clone, dvc)
    dvc.terminate()
    message, _ = dvc.communicate(timeout=400)  # until the last writer to its output has exited
    assert "stopped; run the same command to go on" in message
    found = newest_checkpoint(clone)
    assert found
    reached = found[1]

    clone.configure(f"{reached + 1} kimg", seed=1)
    output = clone.dvc("repro", "export")

    assert f"resuming from {reached:.1f} kimg" in output
    assert clone.candidate().card.images_seen == pytest.approx((reached + 1) * 1000, abs=16)


def test_a_typo_in_the_parameters_suggests_the_right_key(clone: Clone) -> None:
    params = clone.folder / paths.PARAMS
    params.write_text(params.read_text().replace("batch:", "bacth:"))
    dvc = clone.start("repro")
    output = dvc.communicate(timeout=400)[0]
    clone.configure()
    assert dvc.returncode != 0
    assert "error: params.yaml: train.bacth is not a parameter; did you mean train.batch?" in output
    assert "Traceback" not in output


def test_a_fresh_clone_has_its_model_without_training(tmp_path: Path) -> None:
    """Fails when code or parameters of a stage were committed without its new outputs."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path / "clone")], check=True)
    committed = (tmp_path / "clone" / paths.MODEL).read_bytes()
    repro = subprocess.run(
        [*DVC, "repro", "--allow-missing"],
        cwd=tmp_path / "clone",
        env=os.environ | WITH_COMPILED_MODULES,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert repro.returncode == 0, repro.stdout + repro.stderr
    assert re.findall(r"Running stage '(\w+)'", repro.stdout) == ["preprocess"]
    assert (tmp_path / "clone" / paths.MODEL).read_bytes() == committed


def test_the_committed_model_is_what_the_committed_lock_made() -> None:
    """`promote` has no outputs for DVC, so that decisions by hand stay: DVC does not compare these files."""
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]["promote"]
    made = {dep["path"]: dep["md5"] for dep in lock["deps"] if dep["path"].startswith(f"{paths.CANDIDATE}/")}
    for candidate, served in zip(CANDIDATE.files, SERVED.files, strict=True):
        assert md5((ROOT / served).read_bytes()).hexdigest() == made[str(candidate)], served


def test_make_train_runs_a_preset_on_images_at_any_path_as_an_experiment(clone: Clone) -> None:
    """Through make, the shell, DVC and the stages; test_launch.py covers other overrides."""
    clone.configure()
    shutil.copy(ROOT / "Makefile", clone.folder)
    odd = clone.folder / 'it\'s a "$(path)" [x], #1 $HOME 花 {y} & z=1.npz'
    np.savez(odd, images=np.random.RandomState(0).randint(0, 256, (160, 28, 28, 1)).astype(np.uint8))
    # The test's own environment replaces .venv.
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def make(*arguments: str) -> str:
        command = ["make", "-o", ".venv/.ready", *arguments]
        done = subprocess.run(command, cwd=clone.folder, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    lines = make("train", f"SOURCE={odd}", "PRESET=digits-gan", "MINUTES=0.005").splitlines()
    assert lines[-1].startswith(("promoted: ", "NOT PROMOTED: "))
    model = clone.candidate()
    card = model.card
    assert card.params["data"]["source"] == odd.name
    assert (card.params["network"]["name"], card.params["network"]["latent_dim"]) == ("dense", 100)
    (name,) = re.findall(r"digits-gan-\d{4}-\d{6}", clone.dvc("exp", "list"))

    table = make("runs")
    kid = json.loads((clone.folder / paths.CANDIDATE_HEADLINE).read_text())["kid"]
    assert re.search(rf"\[{name}\] +\| {kid} ", table)
    assert max(map(len, table.splitlines())) <= 120

    shutil.rmtree(clone.folder / paths.CANDIDATE)  # it is in DVC's cache, too
    make("promote", f"RUN={name}")
    assert clone.model().model_id == model.model_id
    assert json.loads((clone.folder / paths.METRICS).read_text())["model_id"] == model.model_id
    make("rollback")
    assert clone.model().model_id != model.model_id


def newest_checkpoint(clone: Clone) -> tuple[str, float] | None:
    """Process id in the lock of the latest run, and the kimg of its newest checkpoint; None without checkpoints."""
    checkpoints = list((clone.folder / paths.RUNS).glob("*/kimg-*.pt"))
    if not checkpoints:
        return None
    newest = max(checkpoints, key=lambda path: path.stat().st_mtime_ns)
    return (newest.parent / "lock").read_text(), float(newest.stem.removeprefix("kimg-"))


def wait_for_training(clone: Clone, dvc: subprocess.Popen[str]) -> None:
    """Wait until a running process has written a checkpoint."""
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        assert dvc.poll() is None, dvc.stdout and dvc.stdout.read()
        found = newest_checkpoint(clone)
        if found and found[0] and Path(f"/proc/{found[0]}").exists():
            return
        time.sleep(0.1)
    raise AssertionError("no checkpoint was written")
