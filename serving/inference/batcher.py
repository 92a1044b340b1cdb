"""Dynamic batching: requests that arrive while the network runs are run together next.

The event loop admits a request or refuses it; a few threads do the rest without returning to the event loop. They
are leaders and followers (Schmidt et al. 2000): run a batch, release the run lock to the next thread, encode your own
results, since handing them to another thread takes longer than most of what a lone request needs. Results that are slow
to encode go to threads of their own, so that they never occupy all of those that run the network.
"""

import asyncio
import itertools
import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from queue import PriorityQueue
from typing import Any, TypeVar

from prometheus_client import Counter, Histogram

from serving.inference.executor import BatchOutput
from serving.inference.generator import MAX_BATCH, OnnxGenerator
from serving.inference.latents import BatchInputs, Images, Labels
from serving.inference.request_queue import Admission, Batch, BatchPart, GenerationRequest, RequestCost, RequestQueue
from serving.inference.supervision import FaultReporter, WorkerThreads

# One runs the network while the other encodes (zlib releases the GIL). With more threads the network would get further
# ahead of the encoding: smaller batches, and more contention for the cores.
RUNNERS = 2
ENCODERS = max(1, (os.cpu_count() or 1) // 2)  # the other cores are for the network and for HTTP
ENCODE_DEADLINE_FACTOR = 10  # a slow encoding lets faster ones pass for this many times its own duration
MAX_RUN_S = 60  # a run of the network takes a fraction of a second

IMAGES = Counter("mint_images", "Images generated", ("model_id",))
BATCH_SIZE = Histogram("mint_batch_size", "Images in one run of the network", buckets=(1, 2, 4, 8, 16, 32, 64))

ONE_IMAGE = RequestCost(1)

T = TypeVar("T")


class Batcher:
    """Runs generators, one batch at a time, for the requests of one event loop."""

    def __init__(self, max_queue: int, max_encode: float = 20.0, max_batch: int = MAX_BATCH) -> None:
        """max_queue: images accepted and not yet done; max_encode: seconds of encoding; max_batch: images in a run."""
        self.max_batch = max_batch
        self._changed = threading.Condition()  # its lock guards everything that threads share
        self._queue = RequestQueue()
        self._admission = Admission(max_queue, max_encode)
        self._closed = False
        self._images_per_s = math.inf  # of the last run
        self._running_since: float | None = None
        self._run_lock = threading.Lock()  # held while waiting for requests and running a batch
        self._runners = WorkerThreads("mint-batch", RUNNERS, self._run_next_batch, FaultReporter("image thread"))
        # Results that are slow to encode, by deadline; None in place of a request ends a thread.
        self._slow_encodings: PriorityQueue[tuple[float, int, GenerationRequest | None]] = PriorityQueue()
        self._sequence = itertools.count()
        self._encoders = WorkerThreads("mint-encode", ENCODERS, self._encode_next, FaultReporter("encoding thread"))

    @property
    def pending_images(self) -> int:
        """Images accepted and not yet done."""
        return self._admission.images

    @property
    def pending_encode_s(self) -> float:
        """Estimated seconds of encoding accepted and not yet done."""
        return self._admission.encode_s

    @property
    def problem(self) -> str | None:
        """A sentence when images are not generated as they should be: threads have failed, or a run does not end."""
        since = self._running_since
        if since is not None and time.perf_counter() - since > MAX_RUN_S:
            return f"a run of the network has not ended for {time.perf_counter() - since:.0f} s; restart the service"
        return self._runners.problem or self._encoders.problem

    def check_admission(self, cost: RequestCost = ONE_IMAGE) -> None:
        """Raise QueueFullError unless the request would be accepted now."""
        self._admission.check(cost, self._images_per_s, ENCODERS)

    async def submit(
        self,
        generator: OnnxGenerator,
        inputs: BatchInputs,
        render: Callable[[Images, Labels | None], T],
        encode_s: float = 0.0,
    ) -> T:
        """Generate the images of these inputs, N of them, which may exceed a batch, and render them in a thread.

        render: gets images uint8 [N, H, W, C] and labels int64 [N], or None for a model without classes; its result is
        returned. encode_s: the seconds of one core that it should take. Raises QueueFullError when there is no room,
        and whatever the run of these inputs or `render` raises. Cancelling drops what has not started.
        """
        cost = RequestCost(len(inputs), encode_s)
        request = GenerationRequest(generator, inputs, render, asyncio.get_running_loop().create_future(), cost)
        with self._changed:
            self.check_admission(cost)
            if not self._runners.complete:
                self._runners.start_missing()
            if cost.slow_to_encode and not self._encoders.complete:
                self._encoders.start_missing()
            self._admission.add(cost)
            self._queue.put(request)
            self._changed.notify()
        try:
            result: T = await request.result
            return result
        finally:
            self._abandon(request)

    def close(self) -> None:
        """Finish everything that has been accepted, then end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._runners.join()
        for _ in range(ENCODERS):
            self._slow_encodings.put((math.inf, next(self._sequence), None))
        self._encoders.join()

    def _abandon(self, request: GenerationRequest) -> None:
        """Drop what has not started of a request that has its result, or that nobody awaits any more."""
        with self._changed:
            if request.waiting:
                self._queue.discard(request)
            if not request.in_progress:
                self._release(request)
                request.outputs.clear()

    def _release(self, request: GenerationRequest) -> None:
        """Stop counting a request against the bounds, once; under the lock."""
        if request.admitted:
            request.admitted = False
            self._admission.release(request.cost)

    def _run_next_batch(self) -> bool:
        """Wait for requests, run a batch, then encode the fast results; False once the queue is closed and empty.

        It waits without a reference to any request, so that a model that is replaced can be freed.
        """
        requests: list[GenerationRequest] = []
        try:
            with self._run_lock:
                parts = self._wait_for_batch()
                if not parts:
                    return False
                requests = [part.request for part in parts]
                requests = self._collect(parts, self._run(parts))
            for request in requests:
                if request.cost.slow_to_encode and request.failure is None:
                    self._defer_encoding(request)
                else:
                    self._render(request)
        except BaseException as error:
            self._running_since = None
            for request in requests:
                self._fail(request, error)
            raise
        return True

    def _encode_next(self) -> bool:
        """Encode the slow result with the earliest deadline; False when the batcher is closed."""
        request = self._slow_encodings.get()[-1]
        if request is None:
            return False
        with self._changed:
            request.in_progress = True
        try:
            self._render(request)
        except BaseException as error:
            self._fail(request, error)
            raise
        return True

    def _defer_encoding(self, request: GenerationRequest) -> None:
        """Leave a slow result to the encoding threads; until one takes it, no thread works on it."""
        with self._changed:
            request.in_progress = False
            if request.result.done():
                self._release(request)
                return
        deadline = request.arrived + ENCODE_DEADLINE_FACTOR * request.cost.encode_s
        self._slow_encodings.put((deadline, next(self._sequence), request))

    def _wait_for_batch(self) -> list[BatchPart]:
        """The next batch as soon as there are requests; empty once the batcher is closed."""
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            try:
                return self._queue.next_batch(self.max_batch)
            except BaseException as error:  # the request at fault is unknown, and must not be retried for ever
                for request in self._queue.requests():
                    self._fail(request, error)
                raise

    def _run(self, parts: list[BatchPart]) -> list[BatchOutput | Exception]:
        """Run the parts as one batch; if that fails, one by one, so that only the culprit fails."""
        generator = parts[0].request.generator
        batch = Batch(parts)
        self._running_since = started = time.perf_counter()
        try:
            output = generator.session.run(batch)
        except Exception as error:
            return [error] if len(parts) == 1 else [result for part in parts for result in self._run([part])]
        finally:
            self._running_since = None
        self._images_per_s = len(batch) / (time.perf_counter() - started)
        BATCH_SIZE.observe(len(batch))
        _image_counter(generator.model_id).inc(len(batch))
        return list(batch.split(output))

    def _collect(self, parts: list[BatchPart], results: list[BatchOutput | Exception]) -> list[GenerationRequest]:
        """Add the outputs of a run to their requests; return the requests that are complete."""
        for part, result in zip(parts, results, strict=True):
            if isinstance(result, Exception):
                part.request.failure = result
            else:
                part.request.outputs.append(result)
        with self._changed:
            for part in parts:
                request = part.request
                request.in_progress = request.complete
                if not request.complete and request.result.done():
                    self._release(request)
        return [part.request for part in parts if part.request.complete]

    def _render(self, request: GenerationRequest) -> None:
        """Render the images of a complete request and deliver the result."""
        if request.result.done():  # nobody awaits it any more
            with self._changed:
                self._release(request)
            return
        try:
            result = request.failure or request.rendered()
        except Exception as error:
            result = error
        self._deliver(request, result)

    def _fail(self, request: GenerationRequest, error: BaseException) -> None:
        """End a request with a fault of the service, unless it has its result."""
        with self._changed:
            self._queue.discard(request)
        failure = error if isinstance(error, Exception) else RuntimeError(f"a thread ended: {error!r}")
        self._deliver(request, failure)

    def _deliver(self, request: GenerationRequest, result: Any) -> None:
        """Stop counting a request, then hand its result to the event loop."""
        with self._changed:
            request.in_progress = False
            self._release(request)
        with suppress(RuntimeError):  # the event loop has ended, and with it the caller
            request.result.get_loop().call_soon_threadsafe(_set_result, request.result, result)


@lru_cache(maxsize=64)  # there are fewer models
def _image_counter(model_id: str) -> Counter:
    return IMAGES.labels(model_id)


def _set_result(future: asyncio.Future[Any], result: Any) -> None:
    """Complete a future, on the event loop, unless it is cancelled or complete."""
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
