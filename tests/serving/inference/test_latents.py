"""Latents: numpy's frozen random stream, one latent a seed for ever; truncation and interpolation."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.inference.latents import (
    MAX_SEED,
    GenerationJob,
    Latents,
    LatentSpace,
    from_seeds,
    interpolate,
    lerp,
    slerp,
    truncate,
)


@given(st.lists(st.integers(0, MAX_SEED), min_size=1, max_size=5), st.integers(1, 65), st.integers(1, 1200))
def test_a_seed_is_numpys_frozen_stream_with_the_label_after_z(seeds: list[int], latent_dim: int, classes: int) -> None:
    latents, labels = from_seeds(seeds, latent_dim, classes)
    for row, seed in enumerate(seeds):
        stream = np.random.RandomState(seed)
        assert np.array_equal(latents[row], stream.standard_normal(latent_dim).astype(np.float32))
        assert labels[row] == stream.randint(classes)


def test_the_latent_of_seed_7_has_not_changed() -> None:
    latents, labels = from_seeds([7], 4, classes=10)
    assert latents[0].tolist() == pytest.approx([1.6905257, -0.46593738, 0.03282017, 0.40751627], abs=1e-7)
    assert labels.tolist() == [8]


def test_threads_do_not_share_a_random_stream() -> None:
    alone, _ = from_seeds(list(range(500)), 16)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda _: from_seeds(list(range(500)), 16)[0], range(16)))
    assert all(np.array_equal(alone, latents) for latents in together)


def test_truncation_interpolates_from_the_mean_to_the_latent() -> None:
    latents, _ = from_seeds([1, 2], 8)
    mean = np.full(8, 0.5, np.float32)
    assert np.array_equal(truncate(latents, mean, 1), latents)
    assert np.array_equal(truncate(latents, mean, 0), np.tile(mean, (2, 1)))
    assert np.allclose(truncate(latents, mean, 0.5), (latents + mean) / 2)


def test_a_job_gives_equal_inputs_for_equal_rows_and_truncates_once() -> None:
    space = LatentSpace(dim=8, classes=3, mean=np.full(8, 0.5, np.float32))
    job = GenerationJob(space, labels=None, truncation=0.5, seeds=[3, 1, 4, 1, 5])
    whole = job.arrays(slice(0, 5))
    latents, labels = from_seeds([3, 1, 4, 1, 5], 8, 3)
    assert np.array_equal(whole.latents, truncate(latents, space.mean, 0.5))
    for rows in (slice(1, 3), slice(3, 5), slice(1, 3)):
        part = job.arrays(rows)
        assert np.array_equal(part.latents, whole.latents[rows])
        assert part.labels is not None
        assert np.array_equal(part.labels, labels[rows])


KEYFRAMES = np.random.RandomState(0).standard_normal((3, 64)).astype(np.float32)


def test_a_path_passes_through_its_keyframes() -> None:
    frames, nearest = interpolate(KEYFRAMES, steps=4)
    assert len(frames) == len(nearest) == 9
    assert np.allclose(frames[[0, 4, 8]], KEYFRAMES, atol=1e-6)
    assert nearest.tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 2]


def test_a_loop_returns_without_repeating_its_first_frame() -> None:
    frames, nearest = interpolate(KEYFRAMES, steps=4, loop=True)
    assert len(frames) == 12
    assert np.allclose(frames[[0, 4, 8]], KEYFRAMES, atol=1e-6)
    step_home = np.linalg.norm(frames[-1] - frames[0])
    assert step_home == pytest.approx(np.linalg.norm(frames[-1] - frames[-2]), rel=0.1)
    assert nearest.tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 0, 0]


def test_slerp_stays_on_the_shell_and_lerp_cuts_through() -> None:
    a, b = KEYFRAMES[0], KEYFRAMES[1]
    shell = (np.linalg.norm(a) + np.linalg.norm(b)) / 2
    assert np.linalg.norm(slerp(a, b, 0.5)) == pytest.approx(shell, rel=0.03)
    assert np.linalg.norm(lerp(a, b, 0.5)) < 0.8 * shell


def test_slerp_turns_by_equal_angles() -> None:
    east, north = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
    assert np.allclose(slerp(east, north, 1 / 3), [np.cos(np.pi / 6), np.sin(np.pi / 6)], atol=1e-6)


@pytest.mark.parametrize("end", [2 * KEYFRAMES[0], -KEYFRAMES[0], np.zeros(64, np.float32)])
def test_slerp_falls_back_to_lerp_where_no_arc_is_unique(end: Latents) -> None:
    assert np.allclose(slerp(KEYFRAMES[0], end, 0.25), 0.75 * KEYFRAMES[0] + 0.25 * end, atol=1e-5)
