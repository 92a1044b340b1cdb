"""Concurrent requests become one batch: what has come in while the network ran is run together next."""

import asyncio
import math
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from prometheus_client import Counter, Histogram

from serving.errors import MintError
from serving.generator import MAX_BATCH, Generator, Images
from serving.latents import Labels, Latents

LONGEST_RETRY_S = 60

IMAGES = Counter("mint_images", "Images generated")
BATCH_SIZE = Histogram("mint_batch_size", "Images in one run of the network", buckets=(1, 2, 4, 8, 16, 32, 64))


class QueueFull(MintError):
    """More images wait than the service accepts; `retry_after_s` is when there should be room."""

    def __init__(self, waiting: int, retry_after_s: int) -> None:
        super().__init__(f"{waiting} images are waiting already; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


@dataclass(eq=False)
class _Request:
    """One caller's latents [N, D] and labels [N], and the images [N, H, W, C] made so far."""

    latents: Latents
    labels: Labels | None
    answer: asyncio.Future[Images]
    taken: int = 0  # rows that a run has taken; the others wait
    images: list[Images] = field(default_factory=list)

    def receive(self, result: Images | Exception) -> None:
        """Adds the images of the next rows; answers when they are the last, or have failed."""
        if self.answer.done():  # cancelled, or failed in an earlier part
            return
        if isinstance(result, Exception):
            self.answer.set_exception(result)
            return
        self.images.append(result)
        if sum(map(len, self.images)) == len(self.latents):
            self.answer.set_result(np.concatenate(self.images))


@dataclass(frozen=True)
class _Part:
    """The rows of one request that go into one run."""

    request: _Request
    rows: slice

    @property
    def latents(self) -> Latents:
        return self.request.latents[self.rows]

    @property
    def labels(self) -> Labels | None:
        return None if self.request.labels is None else self.request.labels[self.rows]


class Batcher:
    """Runs a generator on one thread for many callers of one event loop, first come, first served."""

    def __init__(self, generator: Generator, max_waiting: int, max_batch: int = MAX_BATCH) -> None:
        """max_waiting: images in the queue, beyond those that are running; max_batch: images in a run."""
        self.generator = generator
        self.max_waiting = max_waiting
        self.max_batch = max_batch
        self._queue: deque[_Request] = deque()
        self._waiting = 0  # images in the queue
        self._images_per_s = math.inf  # of the last run
        self._thread = ThreadPoolExecutor(1, "mint-inference")
        self._drainer: asyncio.Task[None] | None = None

    async def submit(self, latents: ArrayLike, labels: ArrayLike | None = None) -> Images:
        """Images uint8 [N, H, W, C] of latents [N, D]; N may exceed a batch.

        Raises InputError before anything is queued, QueueFull when there is no room, and whatever
        the run of these very latents raises. Cancelling drops the rows that have not been taken.
        """
        z, indices = self.generator.check(latents, labels)
        if self._waiting + len(z) > self.max_waiting:
            raise QueueFull(self._waiting, min(math.ceil(self._waiting / self._images_per_s) or 1, LONGEST_RETRY_S))
        request = _Request(z, indices, asyncio.get_running_loop().create_future())
        self._queue.append(request)
        self._waiting += len(z)
        if self._drainer is None or self._drainer.done():
            self._drainer = asyncio.create_task(self._drain())
        try:
            return await request.answer
        finally:
            if request in self._queue:  # cancelled, or failed with rows still to come
                self._queue.remove(request)
                self._waiting -= len(z) - request.taken

    def close(self) -> None:
        """Waits for the run in progress and ends the thread."""
        self._thread.shutdown()

    async def _drain(self) -> None:
        """Runs batch after batch until nobody waits."""
        while self._queue:
            parts = self._take()
            results = await asyncio.get_running_loop().run_in_executor(self._thread, self._run, parts)
            for part, result in zip(parts, results, strict=True):
                part.request.receive(result)

    def _take(self) -> list[_Part]:
        """Takes rows from the head of the queue until the batch is full."""
        parts: list[_Part] = []
        room = self.max_batch
        while self._queue and room:
            request = self._queue[0]
            rows = slice(request.taken, min(request.taken + room, len(request.latents)))
            parts.append(_Part(request, rows))
            request.taken = rows.stop
            room -= rows.stop - rows.start
            if request.taken == len(request.latents):
                self._queue.popleft()
        self._waiting -= self.max_batch - room
        return parts

    def _run(self, parts: list[_Part]) -> list[Images | Exception]:
        """Runs the parts as one batch; if that fails, one by one, so that only the culprit fails."""
        labels = [part.labels for part in parts if part.labels is not None]
        latents = np.concatenate([part.latents for part in parts])
        started = time.perf_counter()
        try:
            images = self.generator.images(latents, np.concatenate(labels) if labels else None)
        except Exception as error:
            return [error] if len(parts) == 1 else [result for part in parts for result in self._run([part])]
        self._images_per_s = len(images) / (time.perf_counter() - started)
        BATCH_SIZE.observe(len(images))
        IMAGES.inc(len(images))
        ends = np.cumsum([len(part.latents) for part in parts])
        return list(np.split(images, ends[:-1]))
