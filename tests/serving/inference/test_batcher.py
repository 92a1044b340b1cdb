"""Batcher: requests are batched, split and cancelled, and one that fails does not affect the others."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY

from serving.inference.batcher import Batcher
from serving.inference.generator import OnnxGenerator
from serving.inference.latents import ArrayInputs, GenerationJob, Images, Labels
from serving.inference.request_queue import QueueFullError
from tests.pixels import assert_same_pixels
from tests.serving.busy_model import BusyModel, generate_images
from tests.tiny_model import save, tiny_model

pytestmark = pytest.mark.anyio

LABELS = np.zeros(1, np.int64)


def worker_threads() -> int:
    return sum(thread.name.startswith("mint-run") for thread in threading.enumerate())


async def wait_until(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition is true; fail when it is not within a minute."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    batcher = Batcher(max_queue=100)
    yield batcher
    batcher.close()


class Meter:
    """Counts runs and images since its creation."""

    def __init__(self, *generators: OnnxGenerator) -> None:
        self.generators = generators
        self.start = self._now()

    @property
    def runs_and_images(self) -> tuple[int, int]:
        runs, images = self._now()
        return runs - self.start[0], images - self.start[1]

    def _now(self) -> tuple[int, int]:
        made = [
            REGISTRY.get_sample_value("mint_images_total", {"model_id": generator.model_id}) or 0
            for generator in self.generators
        ]
        return int(REGISTRY.get_sample_value("mint_batch_size_count") or 0), int(sum(made))


async def test_pending_requests_run_in_one_batch_and_each_gets_its_own_images(
    batcher: Batcher, generator: OnnxGenerator
) -> None:
    busy = BusyModel(batcher, generator)
    await busy.wait_until_running()
    requests = [generator.latent_space.sample([seed, seed + 100]) for seed in range(5)]
    meter = Meter(generator)
    waiting = asyncio.gather(*(generate_images(batcher, generator, *inputs) for inputs in requests))
    await asyncio.sleep(0)
    await busy.finish()
    results = await waiting
    assert meter.runs_and_images == (2, 11)  # the busy model's, and all the others
    for inputs, images in zip(requests, results, strict=True):
        assert np.abs(images.astype(int) - generator.images(*inputs)).max() <= 1


async def test_each_request_of_a_batch_gets_the_labels_that_its_seeds_drew(
    batcher: Batcher, generator: OnnxGenerator
) -> None:
    busy = BusyModel(batcher, generator)
    await busy.wait_until_running()
    seeds = [[1, 2, 3], [4], [5, 6]]
    jobs = [GenerationJob(generator.latent_space, labels=None, seeds=each) for each in seeds]
    meter = Meter(generator)
    pending = asyncio.gather(*(batcher.submit(generator, job, lambda images, labels: labels) for job in jobs))
    await asyncio.sleep(0)
    await busy.finish()
    labels = await pending
    assert meter.runs_and_images == (2, 7)
    for each, drawn in zip(seeds, labels, strict=True):
        assert drawn is not None
        assert np.array_equal(drawn, generator.generate(each)[1])


async def test_a_request_larger_than_a_batch_is_split(generator: OnnxGenerator) -> None:
    batcher = Batcher(max_queue=100, max_batch=4)
    latents, labels = generator.latent_space.sample(list(range(10)))
    meter = Meter(generator)
    images = await generate_images(batcher, generator, latents, labels)
    assert meter.runs_and_images == (3, 10)
    assert np.abs(images.astype(int) - generator.images(latents, labels)).max() <= 1
    batcher.close()


async def test_requests_for_two_models_share_the_queue_but_never_a_batch(
    batcher: Batcher, generator: OnnxGenerator, tmp_path: Path
) -> None:
    other = OnnxGenerator.load(save(tiny_model(weights=1), tmp_path / "other.onnx"), "cpu")
    busy = BusyModel(batcher, generator)
    await busy.wait_until_running()
    meter = Meter(generator, other)
    models = [generator, other, generator, other]
    waiting = asyncio.gather(*(generate_images(batcher, model, *model.latent_space.sample([7])) for model in models))
    await asyncio.sleep(0)
    await busy.finish()
    results = await waiting
    assert meter.runs_and_images == (3, 5)
    for model, images in zip(models, results, strict=True):
        assert np.abs(images.astype(int) - model.generate([7])[0]).max() <= 1


async def test_encoding_blocks_neither_the_network_nor_the_event_loop(
    batcher: Batcher, generator: OnnxGenerator
) -> None:
    encoding, released = threading.Event(), threading.Event()

    def encode(images: Images, labels: Labels | None) -> int:
        encoding.set()
        assert released.wait(10)
        return len(images)

    inputs = ArrayInputs(*generator.latent_space.sample([1]))
    slow = asyncio.create_task(batcher.submit(generator, inputs, encode))
    while not encoding.is_set():
        await asyncio.sleep(0.001)
    assert len(await batcher.submit(generator, inputs, lambda images, labels: images)) == 1
    assert not slow.done()
    released.set()
    assert await slow == 1


async def test_batches_run_one_at_a_time(batcher: Batcher, generator: OnnxGenerator) -> None:
    busy = BusyModel(batcher, generator)
    await busy.wait_until_running()
    behind = asyncio.create_task(generate_images(batcher, generator, *generator.latent_space.sample([1])))
    await asyncio.wait([behind], timeout=0.2)
    assert not behind.done()
    await busy.finish()
    assert len(await behind) == 1


async def test_a_failing_request_does_not_fail_the_others_of_its_batch(batcher: Batcher, tmp_path: Path) -> None:
    brittle = OnnxGenerator.load(save(tiny_model(brittle=True), tmp_path / "brittle.onnx"))
    busy = BusyModel(batcher, brittle)
    await busy.wait_until_running()
    sound, breaking = np.zeros((1, 8), np.float32), np.full((1, 8), 500, np.float32)
    waiting = asyncio.gather(
        *(generate_images(batcher, brittle, latents, LABELS) for latents in (sound, breaking, sound)),
        return_exceptions=True,
    )
    await asyncio.sleep(0)
    await busy.finish()
    first, broken, last = await waiting
    assert "out of data bounds" in str(broken)
    assert isinstance(first, np.ndarray)
    assert isinstance(last, np.ndarray)
    assert_same_pixels(first, last)


async def test_a_failing_encoding_fails_only_its_own_request(batcher: Batcher, generator: OnnxGenerator) -> None:
    def fail(images: Images, labels: Labels | None) -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        await batcher.submit(generator, ArrayInputs(*generator.latent_space.sample([1])), fail)
    assert len(await generate_images(batcher, generator, *generator.latent_space.sample([1]))) == 1


async def test_a_full_queue_refuses_requests_with_a_retry_time(generator: OnnxGenerator) -> None:
    batcher = Batcher(max_queue=4)
    pair = generator.latent_space.sample([1, 2])
    busy = BusyModel(batcher, generator)
    await busy.wait_until_running()
    made = asyncio.create_task(generate_images(batcher, generator, *pair))
    await asyncio.sleep(0)
    with pytest.raises(QueueFullError, match="3 images are waiting already; try again in") as refused:
        await generate_images(batcher, generator, *pair)
    assert int(dict(refused.value.headers)["Retry-After"]) >= 1
    await busy.finish()
    assert len(await made) == 2
    assert len(await generate_images(batcher, generator, *pair)) == 2  # there is room again
    batcher.close()


async def test_the_waiting_rows_of_a_cancelled_request_are_never_run(
    batcher: Batcher, generator: OnnxGenerator
) -> None:
    busy = BusyModel(batcher, generator)
    await busy.wait_until_running()
    meter = Meter(generator)
    cancelled = asyncio.create_task(
        generate_images(batcher, generator, *generator.latent_space.sample(list(range(50))))
    )
    await asyncio.sleep(0)
    assert batcher.pending_images == 51
    cancelled.cancel()
    await asyncio.wait([cancelled])
    assert batcher.pending_images == 1
    await busy.finish()
    assert len(await generate_images(batcher, generator, *generator.latent_space.sample([1]))) == 1
    assert meter.runs_and_images == (2, 2)
    assert batcher.pending_images == 0


async def test_a_replaced_model_is_freed(batcher: Batcher, tmp_path: Path) -> None:
    path = save(tiny_model(), tmp_path / "old.onnx")
    before = worker_threads()
    for threads in (1, 3):
        old = OnnxGenerator.load(path, "cpu", threads)
        for _ in range(4):  # whichever thread runs it
            await generate_images(batcher, old, *old.latent_space.sample(list(range(8))))
        freed = weakref.ref(old.session)
        del old
        await wait_until(lambda freed=freed: gc.collect() >= 0 and freed() is None)  # type: ignore[misc]
    await wait_until(lambda: worker_threads() <= before)  # fewer, where other tests' models went meanwhile


async def test_closing_finishes_accepted_requests(generator: OnnxGenerator) -> None:
    batcher = Batcher(max_queue=100)
    accepted = asyncio.create_task(generate_images(batcher, generator, *generator.latent_space.sample(list(range(20)))))
    await asyncio.sleep(0)
    await asyncio.to_thread(batcher.close)
    assert len(await accepted) == 20
