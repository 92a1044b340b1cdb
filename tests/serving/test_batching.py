"""Callers share the network: joined, split, refused when it is too much, and never hurt by each other."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY

from serving.batching import Batcher, QueueFull
from serving.errors import InputError
from serving.generator import Generator
from tests.tiny_model import save, tiny_model

pytestmark = pytest.mark.anyio

LABELS = np.zeros(1, np.int64)


@pytest.fixture
def batcher(generator: Generator) -> Iterator[Batcher]:
    batcher = Batcher(generator, max_waiting=100)
    yield batcher
    batcher.close()


class Meter:
    """Runs and images since it was made."""

    def __init__(self) -> None:
        self.start = self._now()

    @property
    def runs_and_images(self) -> tuple[int, int]:
        runs, images = self._now()
        return runs - self.start[0], images - self.start[1]

    @staticmethod
    def _now() -> tuple[int, int]:
        return tuple(
            int(REGISTRY.get_sample_value(name) or 0) for name in ("mint_batch_size_count", "mint_images_total")
        )  # type: ignore[return-value]


async def test_concurrent_requests_join_one_batch_and_each_gets_its_own_images(batcher: Batcher) -> None:
    asked = [batcher.generator.inputs([seed, seed + 100]) for seed in range(5)]
    meter = Meter()
    answers = await asyncio.gather(*(batcher.submit(*inputs) for inputs in asked))
    assert meter.runs_and_images == (1, 10)
    for inputs, images in zip(asked, answers, strict=True):
        assert np.abs(images.astype(int) - batcher.generator.images(*inputs)).max() <= 1


async def test_a_request_larger_than_a_batch_is_split(generator: Generator) -> None:
    batcher = Batcher(generator, max_waiting=100, max_batch=4)
    latents, labels = generator.inputs(list(range(10)))
    meter = Meter()
    images = await batcher.submit(latents, labels)
    assert meter.runs_and_images == (3, 10)
    assert np.abs(images.astype(int) - generator.images(latents, labels)).max() <= 1
    batcher.close()


async def test_a_request_that_fails_leaves_those_beside_it_alone(tmp_path: Path) -> None:
    batcher = Batcher(Generator.load(save(tiny_model(brittle=True), tmp_path / "brittle.onnx")), max_waiting=100)
    sound, breaking = np.zeros((1, 8)), np.full((1, 8), 500)
    first, broken, last = await asyncio.gather(
        *(batcher.submit(latents, LABELS) for latents in (sound, breaking, sound)), return_exceptions=True
    )
    assert "out of data bounds" in str(broken)
    assert isinstance(first, np.ndarray)
    assert isinstance(last, np.ndarray)
    assert np.array_equal(first, last)
    batcher.close()


async def test_a_bad_request_is_refused_before_it_is_queued(batcher: Batcher) -> None:
    meter = Meter()
    with pytest.raises(InputError, match="not a finite"):
        await batcher.submit(np.full((1, 8), np.nan), LABELS)
    assert meter.runs_and_images == (0, 0)


async def test_more_images_than_may_wait_are_refused_with_a_time_to_retry(generator: Generator) -> None:
    batcher = Batcher(generator, max_waiting=4)
    pair = generator.inputs([1, 2])
    *made, refused = await asyncio.gather(*(batcher.submit(*pair) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(images, np.ndarray) for images in made)
    assert isinstance(refused, QueueFull)
    assert refused.retry_after_s >= 1
    assert "4 images are waiting already; try again in" in str(refused)
    assert len(await batcher.submit(*pair)) == 2  # there is room again
    batcher.close()


async def test_what_a_cancelled_request_still_waits_for_is_dropped(generator: Generator) -> None:
    batcher = Batcher(generator, max_waiting=20, max_batch=2)
    long, short = generator.inputs(list(range(20))), generator.inputs([1])
    meter = Meter()
    cancelled = asyncio.create_task(batcher.submit(*long))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    assert len(await batcher.submit(*short)) == 1
    runs, images = meter.runs_and_images
    assert runs <= 2
    assert images <= 3
    assert len(await batcher.submit(*long)) == 20  # the queue has all its room back
    batcher.close()
