"""Overload and faults: interactive requests are served beside bulk ones, and failed threads continue."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from serving.app import create_app
from serving.inference import supervision
from serving.inference.batcher import ENCODERS, Batcher
from serving.inference.generator import OnnxGenerator
from serving.inference.latents import ArrayInputs, Images, Labels
from tests.serving.busy_model import BusyModel, generate_images
from tests.serving.conftest import assert_error, call_app, load_state
from tests.tiny_model import save, tiny_model

pytestmark = pytest.mark.anyio

SLOW_S = 3.0  # as an estimate; nothing waits for as long
TIMEOUT_S = 60


@pytest.fixture(autouse=True)
def _report_faults_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than any machine takes to read them."""
    monkeypatch.setattr(supervision, "REPORT_S", 3600)


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    batcher = Batcher(max_queue=100, max_encode=20)
    yield batcher
    batcher.close()


async def wait_until(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition is true; fail when it is not within a minute."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.002)


def count(images: Images, labels: Labels | None) -> int:
    """Render images as their number."""
    return len(images)


class Encodings:
    """Requests whose encoding blocks until `release` is set."""

    def __init__(self, batcher: Batcher, generator: OnnxGenerator) -> None:
        self.batcher = batcher
        self.inputs = ArrayInputs(*generator.latent_space.sample([1]))
        self.generator = generator
        self.started: list[str] = []
        self.release = threading.Event()

    def submit(self, name: str, encode_s: float = SLOW_S, blocks: bool = True) -> "asyncio.Task[str]":
        def encode(images: Images, labels: Labels | None) -> str:
            self.started.append(name)
            assert not blocks or self.release.wait(TIMEOUT_S)
            return name

        return asyncio.create_task(self.batcher.submit(self.generator, self.inputs, encode, encode_s))

    async def occupy_all(self) -> "list[asyncio.Task[str]]":
        """Occupy every encoding thread with a blocked request."""
        tasks = [self.submit("first", 0.01) for _ in range(ENCODERS)]
        await wait_until(lambda: len(self.started) == ENCODERS)
        return tasks


@pytest.fixture
def encodings(batcher: Batcher, generator: OnnxGenerator) -> Iterator[Encodings]:
    encodings = Encodings(batcher, generator)
    yield encodings
    encodings.release.set()


async def test_a_plain_image_is_not_delayed_by_slow_encodings(batcher: Batcher, encodings: Encodings) -> None:
    long = await encodings.occupy_all() + [encodings.submit("long") for _ in range(4)]
    for _ in range(2 * len(long)):
        assert await encodings.submit("plain", encode_s=0.0, blocks=False) == "plain"
    assert encodings.started.count("long") == 0
    encodings.release.set()
    assert (await asyncio.gather(*long)).count("long") == 4


async def test_the_faster_of_two_slow_encodings_comes_first(batcher: Batcher, encodings: Encodings) -> None:
    occupying = await encodings.occupy_all()
    animation = encodings.submit("animation", 10.0, blocks=False)
    await wait_until(lambda: batcher.pending_encode_s > 10)
    image = encodings.submit("image", 0.01, blocks=False)
    await wait_until(lambda: batcher._slow_encodings.qsize() == 2)
    encodings.release.set()
    await asyncio.gather(animation, image, *occupying)
    assert encodings.started[ENCODERS:] == ["image", "animation"]


class Named(ArrayInputs):
    """Inputs that record when a run computes them."""

    def __init__(self, name: str, inputs: tuple[Any, Any], fed: list[str]) -> None:
        super().__init__(*inputs)
        object.__setattr__(self, "note", lambda: fed.append(name))

    def arrays(self, rows: slice) -> ArrayInputs:
        self.note()  # type: ignore[attr-defined]
        return super().arrays(rows)


async def test_interactive_requests_overtake_bulk_requests_without_starving_them(generator: OnnxGenerator) -> None:
    batcher = Batcher(max_queue=100, max_batch=8)
    busy = BusyModel(batcher, generator)
    await busy.wait_until_running()
    fed: list[str] = []
    many = Named("many", generator.latent_space.sample(list(range(40))), fed)
    ones = [Named("one", generator.latent_space.sample([seed]), fed) for seed in range(48)]
    submitted = [asyncio.create_task(batcher.submit(generator, inputs, count)) for inputs in (many, *ones)]
    await wait_until(lambda: batcher.pending_images == 89)
    await busy.finish()
    assert await asyncio.gather(*submitted) == [40] + [1] * 48
    assert fed == (["one"] * 8 + ["many"]) * 5 + ["one"] * 8  # batches of eight, by turns
    batcher.close()


async def test_an_interactive_request_for_another_model_overtakes_too(
    batcher: Batcher, generator: OnnxGenerator, tmp_path: Any
) -> None:
    other = OnnxGenerator.load(save(tiny_model(weights=1), tmp_path / "other.onnx"), "cpu", 1)
    busy = BusyModel(batcher, generator)
    await busy.wait_until_running()
    many = asyncio.create_task(generate_images(batcher, generator, *generator.latent_space.sample(list(range(70)))))
    await wait_until(lambda: batcher.pending_images == 71)
    one = asyncio.create_task(generate_images(batcher, other, *other.latent_space.sample([7])))
    await wait_until(lambda: batcher.pending_images == 72)
    await busy.finish()
    assert len(await one) == 1
    assert len(await many) == 70


async def test_an_abandoned_request_counts_until_its_work_ends(batcher: Batcher, encodings: Encodings) -> None:
    encoding = (await encodings.occupy_all())[0]
    waiting = encodings.submit("waiting", 5.0)
    await wait_until(lambda: batcher._slow_encodings.qsize() == 1)
    pending = batcher.pending_encode_s
    waiting.cancel()
    await asyncio.wait([waiting])
    assert batcher.pending_encode_s == pytest.approx(pending - 5.0)  # no thread has started it
    encoding.cancel()
    await asyncio.wait([encoding])
    assert batcher.pending_images == ENCODERS  # a thread encodes it to its end
    encodings.release.set()
    await wait_until(lambda: batcher.pending_images == 0)
    assert batcher.pending_encode_s == 0
    assert "waiting" not in encodings.started


async def test_too_much_pending_encoding_responds_429_with_retry_after(model_path: Any) -> None:
    state = await asyncio.to_thread(load_state, model_path, max_encode=20)
    encodings = Encodings(state.batcher, state.models.get())
    occupying = await encodings.occupy_all()
    more = encodings.submit("more", 14.0)
    await wait_until(lambda: state.batcher.pending_encode_s > 14)
    call = call_app(create_app(state))
    refused = await asyncio.to_thread(call, "GET", "/images/7.webp?size=2047")
    assert_error(refused, 429, "s of encoding are waiting already; try again in")
    assert int(refused.headers["retry-after"]) >= 1
    assert "mint_queue_encode_seconds 14." in (await asyncio.to_thread(call, "GET", "/metrics")).text
    encodings.release.set()
    await asyncio.gather(more, *occupying)
    state.batcher.close()


class UncaughtError(BaseException):
    """Not an Exception, so that no `except Exception` catches it."""


@pytest.mark.parametrize("error", [MemoryError("no room for a batch"), UncaughtError("a bug")])
async def test_a_thread_that_fails_outside_a_run_continues_and_is_reported(
    model_path: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    state = await asyncio.to_thread(load_state, model_path)
    batcher, generator = state.batcher, state.models.get()
    call = call_app(create_app(state))
    inputs = ArrayInputs(*generator.latent_space.sample([7]))
    with monkeypatch.context() as patch:
        patch.setattr("serving.inference.batcher.BATCH_SIZE", Failing(error))
        with pytest.raises((MemoryError, RuntimeError)):  # at once, not when the request times out
            await asyncio.wait_for(batcher.submit(generator, inputs, count), TIMEOUT_S)
    await wait_until(lambda: batcher.problem is not None)
    response = await asyncio.to_thread(call, "GET", "/readyz")
    assert_error(response, 503, f"the image thread failed ({type(error).__name__}: {error}) and started again")
    assert batcher.pending_images == 0
    for _ in range(4):  # whichever thread it is
        assert await asyncio.wait_for(batcher.submit(generator, inputs, count), TIMEOUT_S) == 1
    monkeypatch.setattr(supervision, "REPORT_S", 0)
    assert (await asyncio.to_thread(call, "GET", "/readyz")).status_code == 200
    metrics = (await asyncio.to_thread(call, "GET", "/metrics")).text
    assert 'mint_faults_total{part="image thread"} 0.0' not in metrics
    batcher.close()


class Failing:
    """A histogram that raises an error, as if the disk of its file were full."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def observe(self, value: float) -> None:
        raise self.error


async def test_a_request_that_breaks_batching_is_not_retried_for_ever(
    batcher: Batcher, generator: OnnxGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("serving.inference.request_queue.WAIT", Failing(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            await asyncio.wait_for(generate_images(batcher, generator, *generator.latent_space.sample([1])), TIMEOUT_S)
    assert len(await generate_images(batcher, generator, *generator.latent_space.sample([1]))) == 1


async def test_an_encoding_thread_that_fails_continues(batcher: Batcher, generator: OnnxGenerator) -> None:
    def fail(images: Images, labels: Labels | None) -> None:
        raise UncaughtError("a bug")

    inputs = ArrayInputs(*generator.latent_space.sample([1]))
    for _ in range(ENCODERS):
        with pytest.raises(RuntimeError, match="a bug"):
            await asyncio.wait_for(batcher.submit(generator, inputs, fail, SLOW_S), TIMEOUT_S)
    await wait_until(lambda: "the encoding thread failed (UncaughtError: a bug)" in str(batcher.problem))
    assert await asyncio.wait_for(batcher.submit(generator, inputs, count, SLOW_S), TIMEOUT_S) == 1
    assert batcher.pending_encode_s == 0


async def test_a_run_that_does_not_end_is_reported(
    batcher: Batcher, generator: OnnxGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = BusyModel(batcher, generator)
    await busy.wait_until_running()
    assert batcher.problem is None
    monkeypatch.setattr("serving.inference.batcher.MAX_RUN_S", 0)
    await wait_until(lambda: "has not ended for" in str(batcher.problem))
    await busy.finish()
    assert np.isfinite(batcher.pending_encode_s)
    assert batcher.problem is None


async def test_threads_that_the_system_refuses_are_started_by_the_next_request(
    batcher: Batcher, generator: OnnxGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await generate_images(batcher, generator, *generator.latent_space.sample([1]))
    assert "can't start new thread" in str(batcher.problem)
    assert batcher.pending_images == 0
    assert len(await generate_images(batcher, generator, *generator.latent_space.sample([1]))) == 1
