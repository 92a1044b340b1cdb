"""One queue for all who want images: what has come in while the network ran is run together next.

The event loop checks a request and lets it in, or not. The rest is up to a few threads, which never ask the event loop
in between. They have the network in turn: who has run a batch leaves the network to the next and turns the pixels into
files itself ("leader/followers", Schmidt et al. 2000), since handing them to a thread of its own takes a lone caller
longer than most of what is done with them.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter, Histogram

from serving.errors import MintError
from serving.generator import MAX_BATCH, Generator
from serving.network import Feed, Images, Inputs

LONGEST_RETRY_S = 60
# One runs the network, and the other makes files meanwhile (zlib lets go of the interpreter). With more, the network
# would get further ahead: it would run smaller batches, and the threads would keep one another from the cores.
THREADS = 2

IMAGES = Counter("mint_images", "Images generated", ("model_id",))
BATCH_SIZE = Histogram("mint_batch_size", "Images in one run of the network", buckets=(1, 2, 4, 8, 16, 32, 64))
WAIT = Histogram(
    "mint_queue_wait_seconds",
    "Time from a request's arrival in the queue until its first images run",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

N = TypeVar("N", bound=np.generic)
T = TypeVar("T")


class QueueFull(MintError):
    """More images wait than the service accepts; `retry_after_s` is when there should be room."""

    def __init__(self, waiting: int, retry_after_s: int) -> None:
        super().__init__(f"{waiting} images are waiting already; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


@dataclass(eq=False)
class _Request:
    """What one caller's images are made of, and those made so far, [N, H, W, C]."""

    generator: Generator
    inputs: Inputs
    render: Callable[[Images], Any]
    answer: asyncio.Future[Any]
    arrived: float = field(default_factory=time.perf_counter)
    taken: int = 0  # rows that a run has taken; the others wait
    held: int = 0  # images that count against the queue's bound
    images: list[Images] = field(default_factory=list)
    failure: Exception | None = None

    @property
    def waiting(self) -> bool:
        return self.taken < len(self.inputs)

    @property
    def complete(self) -> bool:
        return self.failure is not None or sum(map(len, self.images)) == len(self.inputs)


@dataclass(frozen=True)
class _Part:
    """The rows of one request that go into one run."""

    request: _Request
    rows: slice

    def __len__(self) -> int:
        return len(range(self.rows.start, self.rows.stop))


class _Batch:
    """The inputs of one run: parts, one after another."""

    def __init__(self, parts: list[_Part]) -> None:
        self.parts = parts
        self.ends: list[int] = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self.ends[-1]

    def feed(self, rows: slice) -> Feed:
        """What the network reads for these rows, each request making its own."""
        feeds = []
        for part, end in zip(self.parts, self.ends, strict=True):
            shift = part.rows.stop - end  # from a row of the batch to the request's
            mine = slice(max(part.rows.start, rows.start + shift), min(part.rows.stop, rows.stop + shift))
            if mine.start < mine.stop:
                feeds.append(part.request.inputs.feed(mine))
        return {name: _joined([feed[name] for feed in feeds]) for name in feeds[0]}


class Batcher:
    """Runs generators, one batch at a time, for many callers of one event loop, first come, first served."""

    def __init__(self, max_queue: int, max_batch: int = MAX_BATCH) -> None:
        """max_queue: images accepted and not yet answered; max_batch: images in a run."""
        self.max_queue = max_queue
        self.max_batch = max_batch
        self._queue: deque[_Request] = deque()  # those with rows that wait; shared, under the lock
        self._held = 0
        self._closed = False
        self._changed = threading.Condition()
        self._images_per_s = math.inf  # of the last run
        self._turn = threading.Lock()  # at the network, and at waiting for something to run
        self._threads: list[threading.Thread] = []  # started by the first request

    @property
    def held(self) -> int:
        """Images accepted and not yet answered."""
        return self._held

    def check_room(self, images: int = 1) -> None:
        """Raises QueueFull unless so many images would be accepted now: a refusal should cost next to nothing."""
        if self._held + images > self.max_queue:
            raise QueueFull(self._held, min(math.ceil(self._held / self._images_per_s) or 1, LONGEST_RETRY_S))

    async def submit(
        self,
        generator: Generator,
        inputs: Inputs,
        render: Callable[[Images], T],
    ) -> T:
        """What `render` makes, in a thread, of the images uint8 [N, H, W, C] of these inputs; N may exceed a batch.

        Raises QueueFull when there is no room, and whatever the run of these very inputs or `render` raises. Cancelling
        drops what has not been run.
        """
        request = _Request(generator, inputs, render, asyncio.get_running_loop().create_future())
        images = len(inputs)
        with self._changed:
            self.check_room(images)
            self._held += images
            request.held = images
            self._queue.append(request)
            self._changed.notify()
            if not self._threads:
                self._start()
        try:
            answer: T = await request.answer
            return answer
        finally:
            self._leave(request)

    def close(self) -> None:
        """Lets everything that has been accepted end, then the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        for number in range(THREADS):
            thread = threading.Thread(target=self._work, name=f"mint-images-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _leave(self, request: _Request) -> None:
        """Gives a request's room back: it has its answer, or nobody waits for it any more."""
        with self._changed:
            self._held -= request.held
            request.held = 0
            if request.waiting and request in self._queue:
                self._queue.remove(request)

    def _work(self) -> None:
        """What each thread does. It waits without a request in hand: a model that is replaced could not go."""
        while self._work_once():
            pass

    def _work_once(self) -> bool:
        """A turn at the network, then the answers; False once the queue is closed and empty."""
        with self._turn:
            parts = self._take()
            if not parts:
                return False
            for part, result in zip(parts, self._run(parts), strict=True):
                if isinstance(result, Exception):
                    part.request.failure = result
                else:
                    part.request.images.append(result)
            ready = [part.request for part in parts if part.request.complete]
        for request in ready:
            _finish(request)
        return True

    def _take(self) -> list[_Part]:
        """Waits for requests and takes rows from the head of the queue, of one generator, until the batch is full."""
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            parts: list[_Part] = []
            room = self.max_batch
            for request in list(self._queue):
                if not room:
                    break
                if request.generator is not self._queue[0].generator:
                    continue
                if not request.taken:
                    WAIT.observe(time.perf_counter() - request.arrived)
                rows = slice(request.taken, min(request.taken + room, len(request.inputs)))
                parts.append(_Part(request, rows))
                request.taken = rows.stop
                room -= len(parts[-1])
            for part in parts:
                if not part.request.waiting:
                    self._queue.remove(part.request)
            return parts

    def _run(self, parts: list[_Part]) -> list[Images | Exception]:
        """Runs the parts as one batch; if that fails, one by one, so that only the culprit fails."""
        generator = parts[0].request.generator
        batch = _Batch(parts)
        started = time.perf_counter()
        try:
            images = generator.run(batch)
        except Exception as error:
            return [error] if len(parts) == 1 else [result for part in parts for result in self._run([part])]
        self._images_per_s = len(images) / (time.perf_counter() - started)
        BATCH_SIZE.observe(len(images))
        _images_of(generator.model_id).inc(len(images))
        return [images[end - len(part) : end] for part, end in zip(parts, batch.ends, strict=True)]


def _joined(rows: list[NDArray[N]]) -> NDArray[N]:
    """Arrays one after another; a single one as it is."""
    return rows[0] if len(rows) == 1 else np.concatenate(rows)


@lru_cache(maxsize=64)  # there are fewer models
def _images_of(model_id: str) -> Counter:
    return IMAGES.labels(model_id)


def _finish(request: _Request) -> None:
    """Makes the answer of a request whose images are there."""
    if not request.answer.done():  # else nobody waits for it any more
        result = _rendered(request)
        with suppress(RuntimeError):  # the event loop has ended, and with it whoever waited
            request.answer.get_loop().call_soon_threadsafe(_deliver, request.answer, result)


def _rendered(request: _Request) -> Any:
    """A request's answer, or the exception that it ends with."""
    if request.failure is not None:
        return request.failure
    try:
        return request.render(_joined(request.images))
    except Exception as error:
        return error


def _deliver(answer: asyncio.Future[Any], result: Any) -> None:
    """Sets the answer, on the event loop, unless nobody waits for it any more."""
    if answer.done():
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)
