"""More work than the service takes, and work that fails: a plain picture is still made."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from serving.app import App
from serving.encoding.images import SECONDS_PER_MEGAPIXEL, encoding_seconds
from serving.http.schemas import ANIMATION_MEDIA_TYPES, MEDIA_TYPES
from serving.inference import supervision
from serving.inference.batcher import ENCODERS, Batcher
from serving.inference.generator import OnnxGenerator
from serving.inference.latents import ArrayInputs, Images, Labels
from serving.inference.request_queue import Admission, QueueFullError, RequestCost
from tests.serving.busy_model import BusyModel, generate_images
from tests.serving.conftest import assert_error, call_app, load_state
from tests.tiny_model import save, tiny_model

pytestmark = pytest.mark.anyio

LONG_S = 3.0  # as the service estimates it; nothing waits for as long
LIMIT_S = 60


@pytest.fixture(autouse=True)
def _faults_are_shown_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than any machine takes to look at them."""
    monkeypatch.setattr(supervision, "REPORT_S", 3600)


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    batcher = Batcher(max_queue=100, max_encode=20)
    yield batcher
    batcher.close()


async def until(true: Callable[[], bool]) -> None:
    """Returns as soon as it is true; fails when it is not within a minute."""
    async with asyncio.timeout(LIMIT_S):
        while not true():
            await asyncio.sleep(0.002)


def count(images: Images, labels: Labels | None) -> int:
    """Renders images as their number."""
    return len(images)


class Encodings:
    """Answers that are encoded for as long as a test wants."""

    def __init__(self, batcher: Batcher, generator: OnnxGenerator) -> None:
        self.batcher = batcher
        self.inputs = ArrayInputs(*generator.latent_space.sample([1]))
        self.generator = generator
        self.begun: list[str] = []
        self.release = threading.Event()

    def submit(self, name: str, encode_s: float = LONG_S, held: bool = True) -> "asyncio.Task[str]":
        def encode(images: Images, labels: Labels | None) -> str:
            self.begun.append(name)
            assert not held or self.release.wait(LIMIT_S)
            return name

        return asyncio.create_task(self.batcher.submit(self.generator, self.inputs, encode, encode_s))

    async def occupy_all(self) -> "list[asyncio.Task[str]]":
        """Long answers in every encoding thread."""
        tasks = [self.submit("first", 0.01) for _ in range(ENCODERS)]
        await until(lambda: len(self.begun) == ENCODERS)
        return tasks


@pytest.fixture
def encodings(batcher: Batcher, generator: OnnxGenerator) -> Iterator[Encodings]:
    held = Encodings(batcher, generator)
    yield held
    held.release.set()


@pytest.mark.parametrize("format", sorted({*MEDIA_TYPES, *ANIMATION_MEDIA_TYPES}))
def test_every_format_has_a_cost_that_grows_with_its_pixels(format: str) -> None:
    assert format in SECONDS_PER_MEGAPIXEL
    assert encoding_seconds(1, 2048, 3, format) > 100 * encoding_seconds(1, 64, 3, format) / 50 > 0
    assert encoding_seconds(100, 64, 1, format) > encoding_seconds(1, 64, 1, format)


def test_a_plain_picture_is_small_and_everything_that_takes_long_is_large() -> None:
    assert not RequestCost(1, encoding_seconds(1, 64, 3, "png")).bulk
    for images, side, format in (
        (1, 2047, "png"),
        (1, 1024, "webp"),
        (1, 512, "jpeg"),
        (16, 64, "gif"),
        (256, 64, "npy"),
    ):
        assert RequestCost(images, encoding_seconds(images, side, 3, format)).bulk, (images, side, format)
    assert RequestCost(64).bulk


async def test_a_plain_picture_is_made_while_long_answers_hold_every_encoding_thread(
    batcher: Batcher, encodings: Encodings
) -> None:
    long = await encodings.occupy_all() + [encodings.submit("long") for _ in range(4)]
    for _ in range(2 * len(long)):
        assert await encodings.submit("plain", encode_s=0.0, held=False) == "plain"
    assert encodings.begun.count("long") == 0
    encodings.release.set()
    assert (await asyncio.gather(*long)).count("long") == 4


async def test_the_shorter_of_two_long_answers_is_encoded_first(batcher: Batcher, encodings: Encodings) -> None:
    occupying = await encodings.occupy_all()
    film = encodings.submit("film", 10.0, held=False)
    await until(lambda: batcher.pending_encode_s > 10)
    picture = encodings.submit("picture", 0.01, held=False)
    await until(lambda: batcher._slow_encodings.qsize() == 2)
    encodings.release.set()
    await asyncio.gather(film, picture, *occupying)
    assert encodings.begun[ENCODERS:] == ["picture", "film"]


class Named(ArrayInputs):
    """Inputs that note when the network asks for them."""

    def __init__(self, name: str, inputs: tuple[Any, Any], fed: list[str]) -> None:
        super().__init__(*inputs)
        object.__setattr__(self, "note", lambda: fed.append(name))

    def arrays(self, rows: slice) -> ArrayInputs:
        self.note()  # type: ignore[attr-defined]
        return super().arrays(rows)


async def test_one_image_overtakes_many_and_many_are_not_kept_waiting_for_ever(generator: OnnxGenerator) -> None:
    batcher = Batcher(max_queue=100, max_batch=8)
    held = BusyModel(batcher, generator)
    await held.wait_until_running()
    fed: list[str] = []
    many = Named("many", generator.latent_space.sample(list(range(40))), fed)
    ones = [Named("one", generator.latent_space.sample([seed]), fed) for seed in range(48)]
    asked = [asyncio.create_task(batcher.submit(generator, inputs, count)) for inputs in (many, *ones)]
    await until(lambda: batcher.pending_images == 89)
    await held.finish()
    assert await asyncio.gather(*asked) == [40] + [1] * 48
    assert fed == (["one"] * 8 + ["many"]) * 5 + ["one"] * 8  # batches of eight, by turns
    batcher.close()


async def test_one_image_of_another_model_overtakes_too(
    batcher: Batcher, generator: OnnxGenerator, tmp_path: Any
) -> None:
    other = OnnxGenerator.load(save(tiny_model(weights=1), tmp_path / "other.onnx"), "cpu", 1)
    held = BusyModel(batcher, generator)
    await held.wait_until_running()
    many = asyncio.create_task(generate_images(batcher, generator, *generator.latent_space.sample(list(range(70)))))
    await until(lambda: batcher.pending_images == 71)
    one = asyncio.create_task(generate_images(batcher, other, *other.latent_space.sample([7])))
    await until(lambda: batcher.pending_images == 72)
    await held.finish()
    assert len(await one) == 1
    assert len(await many) == 70


def test_large_requests_leave_a_quarter_of_the_room_to_small_ones() -> None:
    admission = Admission(100, 20)

    def accepts(work: RequestCost) -> bool:
        try:
            admission.check(work, images_per_s=10, encoders=1)
        except QueueFullError:
            return False
        admission.add(work)
        return True

    assert accepts(RequestCost(70, 1.0))
    assert not accepts(RequestCost(6))
    assert accepts(RequestCost(5, 13.0))
    assert not accepts(RequestCost(1, 2.0))  # 16 s of encoding, of which long answers get 15
    assert [accepts(RequestCost(1, 0.001)) for _ in range(26)] == [True] * 25 + [False]
    admission.release(RequestCost(70, 1.0))
    assert accepts(RequestCost(40, 2.0))


def test_a_request_larger_than_the_share_is_accepted_where_it_is_the_only_large_one() -> None:
    admission = Admission(100, 20)
    admission.add(RequestCost(1, 0.001))
    for work in (RequestCost(99), RequestCost(1, 40.0)):
        admission.check(work, images_per_s=10, encoders=1)
        admission.add(work)
        with pytest.raises(QueueFullError, match=r"(images|s of encoding) are waiting already; try again in \d+ s"):
            admission.check(
                RequestCost(1, 0.01) if work.slow_to_encode else RequestCost(5), images_per_s=10, encoders=1
            )
        admission.release(work)
    assert (admission.images, admission.bulk_images, admission.bulk_encode_s) == (1, 0, 0)


async def test_the_room_of_a_client_that_left_returns_when_its_work_ends(
    batcher: Batcher, encodings: Encodings
) -> None:
    encoding = (await encodings.occupy_all())[0]
    waiting = encodings.submit("waiting", 5.0)
    await until(lambda: batcher._slow_encodings.qsize() == 1)
    held = batcher.pending_encode_s
    waiting.cancel()
    await asyncio.wait([waiting])
    assert batcher.pending_encode_s == pytest.approx(held - 5.0)  # nobody has begun it
    encoding.cancel()
    await asyncio.wait([encoding])
    assert batcher.pending_images == ENCODERS  # a thread encodes it to its end
    encodings.release.set()
    await until(lambda: batcher.pending_images == 0)
    assert batcher.pending_encode_s == 0
    assert "waiting" not in encodings.begun


async def test_a_request_for_more_encoding_than_there_is_room_for_is_told_when_to_come_back(model_path: Any) -> None:
    state = await asyncio.to_thread(load_state, model_path, max_encode=20)
    encodings = Encodings(state.batcher, state.models.get())
    occupying = await encodings.occupy_all()
    more = encodings.submit("more", 14.0)
    await until(lambda: state.batcher.pending_encode_s > 14)
    call = call_app(App(state))
    refused = await asyncio.to_thread(call, "GET", "/images/7.webp?size=2047")
    assert_error(refused, 429, "s of encoding are waiting already; try again in")
    assert int(refused.headers["retry-after"]) >= 1
    assert "mint_queue_encode_seconds 14." in (await asyncio.to_thread(call, "GET", "/metrics")).text
    encodings.release.set()
    await asyncio.gather(more, *occupying)
    state.batcher.close()


class Broken(BaseException):
    """What no `except Exception` stops."""


@pytest.mark.parametrize("error", [MemoryError("no room for a batch"), Broken("a bug")])
async def test_a_thread_that_fails_outside_of_the_run_goes_on_and_is_seen(
    model_path: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    state = await asyncio.to_thread(load_state, model_path)
    batcher, generator = state.batcher, state.models.get()
    call = call_app(App(state))
    inputs = ArrayInputs(*generator.latent_space.sample([7]))
    with monkeypatch.context() as patch:
        patch.setattr("serving.inference.batcher.BATCH_SIZE", Failing(error))
        with pytest.raises((MemoryError, RuntimeError)):  # its caller is told, and does not wait until the time is up
            await asyncio.wait_for(batcher.submit(generator, inputs, count), LIMIT_S)
    await until(lambda: batcher.problem is not None)
    response = await asyncio.to_thread(call, "GET", "/readyz")
    assert_error(response, 503, f"the image thread failed ({type(error).__name__}: {error}) and started again")
    assert batcher.pending_images == 0
    for _ in range(4):  # whichever thread it is
        assert await asyncio.wait_for(batcher.submit(generator, inputs, count), LIMIT_S) == 1
    monkeypatch.setattr(supervision, "REPORT_S", 0)
    assert (await asyncio.to_thread(call, "GET", "/readyz")).status_code == 200
    metrics = (await asyncio.to_thread(call, "GET", "/metrics")).text
    assert 'mint_faults_total{part="image thread"} 0.0' not in metrics
    batcher.close()


class Failing:
    """A histogram that cannot count, as one whose file's disk is full."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def observe(self, value: float) -> None:
        raise self.error


async def test_a_request_that_no_batch_can_be_made_of_does_not_come_again_for_ever(
    batcher: Batcher, generator: OnnxGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("serving.inference.request_queue.WAIT", Failing(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            await asyncio.wait_for(generate_images(batcher, generator, *generator.latent_space.sample([1])), LIMIT_S)
    assert len(await generate_images(batcher, generator, *generator.latent_space.sample([1]))) == 1


async def test_an_encoding_thread_that_fails_goes_on(batcher: Batcher, generator: OnnxGenerator) -> None:
    def fail(images: Images, labels: Labels | None) -> None:
        raise Broken("a bug")

    inputs = ArrayInputs(*generator.latent_space.sample([1]))
    for _ in range(ENCODERS):
        with pytest.raises(RuntimeError, match="a bug"):
            await asyncio.wait_for(batcher.submit(generator, inputs, fail, LONG_S), LIMIT_S)
    await until(lambda: "the encoding thread failed (Broken: a bug)" in str(batcher.problem))
    assert await asyncio.wait_for(batcher.submit(generator, inputs, count, LONG_S), LIMIT_S) == 1
    assert batcher.pending_encode_s == 0


async def test_a_run_that_does_not_end_is_seen(
    batcher: Batcher, generator: OnnxGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = BusyModel(batcher, generator)
    await held.wait_until_running()
    assert batcher.problem is None
    monkeypatch.setattr("serving.inference.batcher.MAX_RUN_S", 0)
    await until(lambda: "has not ended for" in str(batcher.problem))
    await held.finish()
    assert np.isfinite(batcher.pending_encode_s)
    assert batcher.problem is None


async def test_threads_that_the_system_refuses_are_asked_for_again(
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
