"""Mode-coverage benchmark: modes are counted correctly, and configurations are compared as they are."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import gaussians, modes, stacked
from benchmarks.configs import DEFAULT, PLAIN, PLAIN_TUNED, config
from benchmarks.modes import Run
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
def images() -> np.ndarray:
    """Ten classes that cannot be confused: a bright square at one of ten places, with a little noise; 30 of each."""
    stream = np.random.RandomState(0)
    images = stream.randint(0, 60, (300, 8, 8)).astype(np.uint8)
    for index in range(300):
        row, column = 2 * (index % 10 // 4), 2 * (index % 10 % 4)
        images[index, row : row + 2, column : column + 2] = 255
    return images


@pytest.fixture(scope="module")
def classifier(images: np.ndarray) -> Classifier:
    trained, accuracy = train_classifier(images[..., None], np.arange(300) % 10, 10, 40, torch.device("cpu"))
    assert accuracy == 1.0
    return trained


def test_real_stacks_cover_all_modes_up_to_the_bias_of_sampling(images: np.ndarray, classifier: Classifier) -> None:
    real = stacked.StackedImages(images).sample(15_000, np.random.RandomState(1))
    count = stacked.count_modes(real, classifier)
    assert count.modes == 1000
    assert count.kl == pytest.approx(999 / (2 * 15_000), rel=0.2)  # the bias of a histogram of 1,000 bins


def test_a_collapsed_generator_covers_one_mode(images: np.ndarray, classifier: Classifier) -> None:
    one = np.stack([images[[4, 7, 2]].transpose(1, 2, 0)] * 100)
    assert stacked.count_modes(one, classifier) == stacked.ModeCount(1, pytest.approx(math.log(1000)))


def test_training_is_unconditional_with_the_configurations_own_rates() -> None:
    for name in modes.CONFIGS:
        run = Run("quarter", name, seed=2, cpu_seconds=1)
        own = config(name)
        assert run.params.network.condition == "none"
        assert run.params.data.channels == 3
        assert run.params.network.discriminator_width * 4 == own.network.generator_width
        assert run.params.train.generator_lr == own.train.generator_lr
        assert run.params.objective == own.objective
        assert run.params.train.seed == 2


def test_plain_dcgan_is_compared_with_its_sources_rates_and_with_the_defaults() -> None:
    source, tuned, default = (config(name).train for name in (PLAIN, PLAIN_TUNED, DEFAULT))
    assert (source.generator_lr, source.discriminator_lr, source.batch) == (2e-4, 2e-4, 128)
    assert (tuned.generator_lr, tuned.discriminator_lr) == (default.generator_lr, default.discriminator_lr)
    assert tuned.batch == default.batch
    assert config(PLAIN_TUNED).network == config(PLAIN).network


def test_both_configurations_train_on_gaussians_and_on_stacked_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked, "SAMPLES", stacked.BATCH)
    torch.set_num_threads(1)
    untrained = Classifier(1, 10).eval()
    noise = np.random.RandomState(0).randint(0, 256, (20, 28, 28)).astype(np.uint8)
    for name in (PLAIN, DEFAULT):
        found = gaussians.train_and_evaluate(gaussians.ring(), Run("ring", name, 0, 0.3).params, cpu_seconds=0.3)
        assert found.of == 8
        small = config(
            name,
            data={"channels": 3},
            network={"condition": "none", "generator_width": 8, "discriminator_width": 2},
        )
        count, kimg = stacked.train_and_evaluate(noise, untrained, small, cpu_seconds=0.5)
        assert kimg > 0
        assert 1 <= count.modes <= stacked.BATCH


def test_an_interrupted_benchmark_reuses_finished_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setattr(modes, "RESULTS", tmp_path)
    runs = [Run("ring", "default", seed, 0.2) for seed in range(2)]
    modes.train_and_save(runs[0])
    written = runs[0].result_path.stat().st_mtime_ns

    results = modes.run_missing(runs[:1], workers=1)

    assert runs[0].result_path.stat().st_mtime_ns == written
    assert results[runs[0]]["of"] == 8
    assert not runs[1].result_path.exists()
    assert runs[0].result_path != Run("ring", "default", 0, 0.3).result_path  # the budget is part of the name
