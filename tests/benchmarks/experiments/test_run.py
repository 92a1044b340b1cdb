"""Runs of the experiments: seeds train once each, an interrupted variant resumes, divergence is a result."""

import contextlib
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.experiments import dataset
from benchmarks.experiments.results import RESULT, VariantResult
from benchmarks.experiments.run import cache_key, make_jobs, run_variant, start_workers
from benchmarks.experiments.variants import Size, Variant, find
from benchmarks.experiments.worker import Job
from serving.errors import MintError
from tests.training.project import BLUE, RED, picture

TINY = Size(
    images=32,
    epochs=2,
    values={
        "data": {"resolution": 28, "channels": 1},
        "network": {"generator_width": 4, "discriminator_width": 4},
        "train": {"batch": 8, "device": "cpu"},
    },
    evaluated=12,
    classifier_epochs=1,
    pool=120,
)
DIVERGING = Variant(
    "wgan",
    "a rate of 1",
    "digits-gan",
    {
        "objective": {"name": "least-squares"},
        "train": {
            "generator_optimizer": "sgd",
            "discriminator_optimizer": "sgd",
            "generator_lr": 1.0,
            "discriminator_lr": 1.0,
        },
    },
    small=TINY,
    full=TINY,
)


@dataclass(frozen=True)
class Workspace:
    """Folder of experiments with its own images and results."""

    folder: Path

    def jobs(self, variant: Variant, size: Size = TINY, seeds: int = 2) -> list[Job]:
        with contextlib.chdir(self.folder):  # sources are unpacked below it
            return make_jobs(variant, size, seeds, None, self.folder, workers=2)

    def results(self, name: str) -> Path:
        return self.folder / "results" / name

    def run_here(self, variant: Variant) -> VariantResult:
        """Run the missing seeds without other processes."""
        with ThreadPoolExecutor(1) as pool:
            run_variant(self.jobs(variant), "small", self.results(variant.name), pool)
        return read_result(self.results(variant.name))


def read_result(folder: Path) -> VariantResult:
    return VariantResult.model_validate_json((folder / RESULT).read_bytes())


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two seeds of a DCGAN, trained in a worker process as `run` does; one process, as starting two takes longer."""
    workspace = Workspace(tmp_path_factory.mktemp("experiments"))
    with start_workers(1) as pool:
        assert run_variant(workspace.jobs(find("dcgan")), "small", workspace.results("dcgan"), pool) == 2
    return workspace


def test_seeds_train_on_one_thread_each_and_have_finite_results(workspace: Workspace) -> None:
    result = read_result(workspace.results("dcgan"))
    assert [seed.seed for seed in result.seeds] == [0, 1]
    assert result.seeds[0].metrics != result.seeds[1].metrics
    for seed in result.seeds:
        assert seed.diverged_at is None
        assert seed.images_seen == 64
        assert [evaluation.epoch for evaluation in seed.evaluations] == [1, 2]
        assert all(math.isfinite(value) for value in (*seed.metrics.values(), seed.losses[-1].d_loss))
        assert seed.hardware.threads == 1
    assert (workspace.results("dcgan") / "sheets" / "epoch-0002.png").exists()


def test_an_interrupted_variant_resumes_with_the_missing_seeds(workspace: Workspace) -> None:
    before = read_result(workspace.results("dcgan")).seeds
    jobs = workspace.jobs(find("dcgan"))
    jobs[1].result.unlink()
    after = workspace.run_here(find("dcgan")).seeds
    assert after[0] == before[0]
    assert after[1].started_at > before[1].started_at
    assert after[1].evaluations == before[1].evaluations  # the same run from the same seed


def test_a_saved_run_is_reused_only_for_the_same_inputs() -> None:
    plain = cache_key(find("dcgan"), TINY, "images")
    assert cache_key(find("aligned"), TINY, "images") == plain
    assert plain not in {
        cache_key(find("rotated"), TINY, "images"),
        cache_key(find("dcgan"), replace(TINY, epochs=3), "images"),
        cache_key(find("dcgan"), TINY, "other images"),
    }


def test_divergence_is_a_result(workspace: Workspace) -> None:
    result = workspace.run_here(DIVERGING)
    assert result.diverged == 2
    assert result.seeds[0].metrics == {}


def test_channels_of_a_composed_image_are_three_images_of_one_class() -> None:
    labels = np.repeat(np.arange(3), 5)
    grey = np.arange(15, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    composed, composed_labels = dataset.compose(grey, labels)
    assert composed.shape == (15, 2, 2, 3)
    for index, image in enumerate(composed):
        members = set(image[0, 0].tolist())
        assert len(members) == 3
        assert {int(labels[member]) for member in members} == {int(composed_labels[index])}


def test_the_error_of_too_few_images_says_how_many_are_needed() -> None:
    few = dataset.LabelledImages(np.zeros((30, 2, 2, 1), np.uint8), np.zeros(30, np.int64))
    parts = dataset.split(few, 6, evaluated=8)
    assert [len(part.images) for part in (parts.training, parts.reference, parts.held_out)] == [6, 16, 8]
    with pytest.raises(MintError, match="there are 30 images, and 31 are needed"):
        dataset.split(few, 7, evaluated=8)


def test_class_folders_of_a_source_become_labels(tmp_path: Path) -> None:
    for folder, colour in (("red", RED), ("blue", BLUE)):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for index in range(3):
            (tmp_path / "photos" / folder / f"{index}.png").write_bytes(picture(colour))
    with contextlib.chdir(tmp_path):
        dataset.prepare(dataset.ImageSpec(28, 3, "photos"), tmp_path / "arrays")
        with pytest.raises(MintError, match="no class folders"):
            dataset.prepare(dataset.ImageSpec(28, 3, "photos/red"), tmp_path / "red")
    made = dataset.load(tmp_path / "arrays")
    assert [tuple(one[0, 0]) for one in made.images] == [(BLUE, RED)[label] for label in made.labels]
