"""The mode-coverage benchmark counts what is there, and compares recipes as they are."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import gaussians, modes, stacked
from benchmarks.modes import Task
from benchmarks.recipes import DEFAULT, PLAIN, PLAIN_TUNED, recipe
from training.evaluation.classifier import Classifier, train_classifier


@pytest.mark.parametrize(("mixture", "count"), [(gaussians.ring(), 8), (gaussians.grid(), 25)])
def test_points_of_the_mixture_itself_cover_it(mixture: gaussians.Mixture, count: int) -> None:
    points, _ = next(mixture.batches(4000, seed=0))
    found = gaussians.coverage(points.flatten(1).numpy(), mixture)
    assert (found.modes, found.of) == (count, count)
    assert found.high_quality == pytest.approx(1 - math.exp(-4.5), abs=0.005)  # of a 2D Gaussian within 3 deviations


def test_points_between_the_modes_cover_nothing_and_a_collapse_covers_one() -> None:
    mixture = gaussians.grid()
    between = np.tile(np.array([[1.0, 1.0]], np.float32), (50, 1))
    collapsed = np.tile(mixture.centres[3:4], (50, 1))
    assert gaussians.coverage(between, mixture) == gaussians.Coverage(0, 25, 0.0)
    assert gaussians.coverage(collapsed, mixture) == gaussians.Coverage(1, 25, 1.0)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Ten classes that cannot be confused: a bright square at one of ten places, with a little noise; 30 of each."""
    stream = np.random.RandomState(0)
    images = stream.randint(0, 60, (300, 8, 8)).astype(np.uint8)
    for index in range(300):
        row, column = 2 * (index % 10 // 4), 2 * (index % 10 % 4)
        images[index, row : row + 2, column : column + 2] = 255
    return images


@pytest.fixture(scope="module")
def classifier(pictures: np.ndarray) -> Classifier:
    trained, accuracy = train_classifier(pictures[..., None], np.arange(300) % 10, 10, 40, torch.device("cpu"))
    assert accuracy == 1.0
    return trained


def test_real_stacks_cover_all_modes_down_to_the_floor_of_sampling(
    pictures: np.ndarray, classifier: Classifier
) -> None:
    real = stacked.Stacks(pictures).draw(15_000, np.random.RandomState(1))
    count = stacked.count_modes(real, classifier)
    assert count.modes == 1000
    assert count.kl == pytest.approx(999 / (2 * 15_000), rel=0.2)  # the bias of a histogram of 1,000 bins


def test_a_collapsed_generator_covers_one_mode(pictures: np.ndarray, classifier: Classifier) -> None:
    one = np.stack([pictures[[4, 7, 2]].transpose(1, 2, 0)] * 100)
    assert stacked.count_modes(one, classifier) == stacked.ModeCount(1, pytest.approx(math.log(1000)))


def test_the_recipes_are_told_no_classes_and_keep_their_own_rates() -> None:
    for name in modes.RECIPES:
        task = Task("quarter", name, seed=2, cpu_seconds=1)
        own = recipe(name)
        assert task.params.network.condition == "none"
        assert task.params.data.channels == 3
        assert task.params.network.discriminator_width * 4 == own.network.generator_width
        assert task.params.train.generator_lr == own.train.generator_lr
        assert task.params.objective == own.objective
        assert task.params.train.seed == 2


def test_plain_dcgan_plays_with_its_sources_rates_and_with_the_defaults() -> None:
    source, tuned, default = (recipe(name).train for name in (PLAIN, PLAIN_TUNED, DEFAULT))
    assert (source.generator_lr, source.discriminator_lr, source.batch) == (2e-4, 2e-4, 128)
    assert (tuned.generator_lr, tuned.discriminator_lr) == (default.generator_lr, default.discriminator_lr)
    assert tuned.batch == default.batch
    assert recipe(PLAIN_TUNED).network == recipe(PLAIN).network


def test_both_recipes_play_in_the_plane_and_on_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked, "SAMPLES", stacked.CHUNK)
    torch.set_num_threads(1)
    untrained = Classifier(1, 10).eval()
    noise = np.random.RandomState(0).randint(0, 256, (20, 28, 28)).astype(np.uint8)
    for name in (PLAIN, DEFAULT):
        found = gaussians.cover(gaussians.ring(), Task("ring", name, 0, 0.3).params, cpu_seconds=0.3)
        assert found.of == 8
        small = recipe(
            name,
            data={"channels": 3},
            network={"condition": "none", "generator_width": 8, "discriminator_width": 2},
        )
        count, kimg = stacked.cover(noise, untrained, small, cpu_seconds=0.5)
        assert kimg > 0
        assert 1 <= count.modes <= stacked.CHUNK


def test_an_interrupted_benchmark_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setattr(modes, "KEPT", tmp_path)
    tasks = [Task("ring", "default", seed, 0.2) for seed in range(2)]
    modes.play(tasks[0])
    kept = tasks[0].kept.stat().st_mtime_ns

    results = modes.perform(tasks[:1], workers=1)

    assert tasks[0].kept.stat().st_mtime_ns == kept
    assert results[tasks[0]]["of"] == 8
    assert not tasks[1].kept.exists()
    assert tasks[0].kept != Task("ring", "default", 0, 0.3).kept  # another budget is another run
