"""Seeds are a promise: numpy's frozen stream, one latent a seed, for ever."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.latents import MAX_SEED, from_seeds, truncate


@given(st.lists(st.integers(0, MAX_SEED), min_size=1, max_size=5), st.integers(1, 65))
def test_a_seed_is_numpys_frozen_stream_with_the_label_after_z(seeds: list[int], latent_dim: int) -> None:
    latents, labels = from_seeds(seeds, latent_dim, classes=10)
    for row, seed in enumerate(seeds):
        stream = np.random.RandomState(seed)
        assert np.array_equal(latents[row], stream.standard_normal(latent_dim).astype(np.float32))
        assert labels[row] == stream.randint(10)


def test_the_latent_of_seed_7_has_not_changed() -> None:
    latents, labels = from_seeds([7], 4, classes=10)
    assert latents[0].tolist() == pytest.approx([1.6905257, -0.46593738, 0.03282017, 0.40751627], abs=1e-7)
    assert labels.tolist() == [8]


def test_threads_do_not_disturb_each_others_seeds() -> None:
    alone, _ = from_seeds(list(range(500)), 16)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda _: from_seeds(list(range(500)), 16)[0], range(16)))
    assert all(np.array_equal(alone, latents) for latents in together)


def test_truncation_goes_from_the_mean_to_the_latent() -> None:
    latents, _ = from_seeds([1, 2], 8)
    mean = np.full(8, 0.5, np.float32)
    assert np.array_equal(truncate(latents, mean, 1), latents)
    assert np.array_equal(truncate(latents, mean, 0), np.tile(mean, (2, 1)))
    assert np.allclose(truncate(latents, mean, 0.5), (latents + mean) / 2)
