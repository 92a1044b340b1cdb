"""One queue for all who want images: what has come in while the network ran is run together next.

The event loop checks a request and lets it in, or not. The rest is up to a few threads, which never ask the event loop
in between. They have the network in turn: who has run a batch leaves the network to the next and turns the pixels into
files itself ("leader/followers", Schmidt et al. 2000), since handing them to a thread of its own takes a lone caller
longer than most of what is done with them. Long answers are encoded by threads of their own, so that they never hold
all of those that run the network. Small requests overtake large ones, which get at least every other batch.
"""

import asyncio
import itertools
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from queue import PriorityQueue
from typing import Any, TypeVar

from prometheus_client import Counter, Histogram

from serving.inference.admission import Admission, Work
from serving.inference.batch import Batch, BatchPart, ImageRequest, joined
from serving.inference.executor import BatchInputs, Images
from serving.inference.generator import MAX_BATCH, OnnxGenerator
from serving.inference.supervision import Faults, Workers

# One runs the network, and the other makes files meanwhile (zlib lets go of the interpreter). With more, the network
# would get further ahead: it would run smaller batches, and the threads would keep one another from the cores.
THREADS = 2
ENCODERS = max(1, (os.cpu_count() or 1) // 2)  # the other cores are for the network and for HTTP
PATIENCE = 10  # a long answer waits for shorter ones that come within so many times its own encoding time
STUCK_S = 60  # a run of the network takes a fraction of a second

IMAGES = Counter("mint_images", "Images generated", ("model_id",))
BATCH_SIZE = Histogram("mint_batch_size", "Images in one run of the network", buckets=(1, 2, 4, 8, 16, 32, 64))
WAIT = Histogram(
    "mint_queue_wait_seconds",
    "Time from a request's arrival in the queue until its first images run",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

ONE_IMAGE = Work(1)

T = TypeVar("T")


class Batcher:
    """Runs generators, one batch at a time, for many callers of one event loop."""

    def __init__(self, max_queue: int, max_encode: float = 20.0, max_batch: int = MAX_BATCH) -> None:
        """max_queue: images accepted and not yet done; max_encode: seconds of encoding; max_batch: images in a run."""
        self.max_batch = max_batch
        self._changed = threading.Condition()  # its lock is around everything that threads share
        self._small: deque[ImageRequest] = deque()  # those with rows that wait
        self._large: deque[ImageRequest] = deque()
        self._large_first = False  # the last batch was full and had next to nothing of the large ones that wait
        self._admission = Admission(max_queue, max_encode)
        self._closed = False
        self._images_per_s = math.inf  # of the last run
        self._running_since: float | None = None
        self._turn = threading.Lock()  # at the network, and at waiting for something to run
        self._workers = Workers("mint-images", THREADS, self._work_once, Faults("image thread"))
        # Long answers by deadline; without a request: a thread may end.
        self._long: PriorityQueue[tuple[float, int, ImageRequest | None]] = PriorityQueue()
        self._numbers = itertools.count()
        self._encoders = Workers("mint-encode", ENCODERS, self._encode_once, Faults("encoding thread"))

    @property
    def held(self) -> int:
        """Images accepted and not yet done."""
        return self._admission.images

    @property
    def held_encode_s(self) -> float:
        """Seconds of encoding, estimated, accepted and not yet done."""
        return self._admission.encode_s

    @property
    def problem(self) -> str | None:
        """A sentence when images are not made as they should be: threads have failed, or a run does not end."""
        since = self._running_since
        if since is not None and time.perf_counter() - since > STUCK_S:
            return f"a run of the network has not ended for {time.perf_counter() - since:.0f} s; restart the service"
        return self._workers.problem or self._encoders.problem

    def check_room(self, work: Work = ONE_IMAGE) -> None:
        """Raises QueueFull unless the work would be accepted now: a refusal should cost next to nothing."""
        self._admission.check(work, self._images_per_s, ENCODERS)

    async def submit(
        self, generator: OnnxGenerator, inputs: BatchInputs, render: Callable[[Images], T], encode_s: float = 0.0
    ) -> T:
        """What `render` makes, in a thread, of the images uint8 [N, H, W, C] of these inputs; N may exceed a batch.

        encode_s: the seconds of one core that `render` should take. Raises QueueFull when there is no room, and
        whatever the run of these very inputs or `render` raises. Cancelling drops what has not been begun.
        """
        work = Work(len(inputs), encode_s)
        request = ImageRequest(generator, inputs, render, asyncio.get_running_loop().create_future(), work)
        with self._changed:
            self.check_room(work)
            self._workers.ensure()
            if work.long:
                self._encoders.ensure()
            self._admission.add(work)
            (self._large if work.large else self._small).append(request)
            self._changed.notify()
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
        self._workers.join()
        for _ in range(ENCODERS):
            self._long.put((math.inf, next(self._numbers), None))
        self._encoders.join()

    def _leave(self, request: ImageRequest) -> None:
        """Drops what is not begun of a request that has its answer, or that nobody waits for any more."""
        with self._changed:
            for queue in (self._small, self._large):
                if request.waiting and request in queue:
                    queue.remove(request)
            if not request.busy:
                self._release(request)
                request.images.clear()

    def _release(self, request: ImageRequest) -> None:
        """Gives a request's room back, once; under the lock."""
        if request.admitted:
            request.admitted = False
            self._admission.release(request.work)

    def _work_once(self) -> bool:
        """A turn at the network, then the short answers; False once the queue is closed and empty.

        It waits without a request in hand: a model that is replaced could not go.
        """
        ready: list[ImageRequest] = []
        try:
            with self._turn:
                parts = self._take()
                if not parts:
                    return False
                ready = [part.request for part in parts]
                ready = self._keep(parts, self._run(parts))
            for request in ready:
                if request.work.long and request.failure is None:
                    self._postpone(request)
                else:
                    self._finish(request)
        except BaseException as error:
            self._running_since = None
            for request in ready:
                self._fail(request, error)
            raise
        return True

    def _encode_once(self) -> bool:
        """Encodes the long answer that is due first; False when there will be none."""
        request = self._long.get()[-1]
        if request is None:
            return False
        with self._changed:
            request.busy = True
        try:
            self._finish(request)
        except BaseException as error:
            self._fail(request, error)
            raise
        return True

    def _postpone(self, request: ImageRequest) -> None:
        """Leaves a long answer to the encoding threads; nobody works on it meanwhile."""
        with self._changed:
            request.busy = False
            if request.answer.done():
                self._release(request)
                return
        deadline = request.arrived + PATIENCE * request.work.encode_s
        self._long.put((deadline, next(self._numbers), request))

    def _take(self) -> list[BatchPart]:
        """Waits for requests and takes rows of one generator until the batch is full; nothing once it is closed."""
        with self._changed:
            while not self._small and not self._large and not self._closed:
                self._changed.wait()
            try:
                first, second = self._small, self._large
                if second and (self._large_first or not first):
                    first, second = second, first
                parts = self._rows(chain(first, second))
                for part in parts:
                    if not part.request.waiting:
                        (self._large if part.request.work.large else self._small).remove(part.request)
            except BaseException as error:  # whatever is wrong with one of them, it must not come again for ever
                for request in [*self._small, *self._large]:
                    self._fail(request, error)
                raise
            large_rows = sum(len(part) for part in parts if part.request.work.large)
            full = sum(map(len, parts)) == self.max_batch
            self._large_first = bool(self._large) and full and large_rows < self.max_batch // 4
            return parts

    def _rows(self, requests: Iterable[ImageRequest]) -> list[BatchPart]:
        """The rows of the next run, in this order, all of the first one's generator."""
        parts: list[BatchPart] = []
        room = self.max_batch
        for request in requests:
            if not room:
                break
            if parts and request.generator is not parts[0].request.generator:
                continue
            if not request.taken:
                WAIT.observe(time.perf_counter() - request.arrived)
            rows = slice(request.taken, min(request.taken + room, len(request.inputs)))
            parts.append(BatchPart(request, rows))
            request.taken = rows.stop
            request.busy = True
            room -= len(parts[-1])
        return parts

    def _keep(self, parts: list[BatchPart], results: list[Images | Exception]) -> list[ImageRequest]:
        """Puts the images of a run to their requests; returns those that are complete."""
        for part, result in zip(parts, results, strict=True):
            if isinstance(result, Exception):
                part.request.failure = result
            else:
                part.request.images.append(result)
        with self._changed:
            for part in parts:
                request = part.request
                request.busy = request.complete
                if not request.complete and request.answer.done():
                    self._release(request)
        return [part.request for part in parts if part.request.complete]

    def _run(self, parts: list[BatchPart]) -> list[Images | Exception]:
        """Runs the parts as one batch; if that fails, one by one, so that only the culprit fails."""
        generator = parts[0].request.generator
        batch = Batch(parts)
        self._running_since = started = time.perf_counter()
        try:
            images = generator.run(batch)
        except Exception as error:
            return [error] if len(parts) == 1 else [result for part in parts for result in self._run([part])]
        finally:
            self._running_since = None
        self._images_per_s = len(images) / (time.perf_counter() - started)
        BATCH_SIZE.observe(len(images))
        _images_of(generator.model_id).inc(len(images))
        return [images[end - len(part) : end] for part, end in zip(parts, batch.ends, strict=True)]

    def _finish(self, request: ImageRequest) -> None:
        """Makes the answer of a request whose images are there."""
        if request.answer.done():  # nobody waits for it any more
            with self._changed:
                self._release(request)
            return
        try:
            result = request.failure or request.render(joined(request.images))
        except Exception as error:
            result = error
        self._answer(request, result)

    def _fail(self, request: ImageRequest, error: BaseException) -> None:
        """Ends a request with a fault of the service, unless it has its answer."""
        with self._changed:
            for queue in (self._small, self._large):
                with suppress(ValueError):
                    queue.remove(request)
        failure = error if isinstance(error, Exception) else RuntimeError(f"a thread ended: {error!r}")
        self._answer(request, failure)

    def _answer(self, request: ImageRequest, result: Any) -> None:
        """Gives the room back, then the answer to the event loop."""
        with self._changed:
            request.busy = False
            self._release(request)
        with suppress(RuntimeError):  # the event loop has ended, and with it whoever waited
            request.answer.get_loop().call_soon_threadsafe(_deliver, request.answer, result)


@lru_cache(maxsize=64)  # there are fewer models
def _images_of(model_id: str) -> Counter:
    return IMAGES.labels(model_id)


def _deliver(answer: asyncio.Future[Any], result: Any) -> None:
    """Sets the answer, on the event loop, unless nobody waits for it any more."""
    if answer.done():
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)
