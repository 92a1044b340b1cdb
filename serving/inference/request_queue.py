"""Bounded queue of generation requests: admission control, priority of interactive over bulk requests, batches of rows.

Not thread-safe: the owner holds a lock around every call.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import Any

import numpy as np
from prometheus_client import Histogram

from serving.errors import MintError
from serving.inference.executor import BatchOutput, join_labels
from serving.inference.generator import OnnxGenerator
from serving.inference.latents import ArrayInputs, BatchInputs, Images, Labels

MAX_RETRY_AFTER_S = 60
MAX_INTERACTIVE_IMAGES = 4
FAST_ENCODE_S = 0.002  # a plain PNG of up to 128 pixels takes less
BULK_SHARE = 0.75  # of each bound that bulk requests may use together

WAIT = Histogram(
    "mint_queue_wait_seconds",
    "Time from a request's arrival in the queue until its first images run",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

Render = Callable[[Images, Labels | None], Any]


class QueueFullError(MintError):
    """More work is pending than the service accepts; Retry-After predicts when there is room."""

    status = 429

    def __init__(self, work: str, retry_after_s: int) -> None:
        super().__init__(f"{work} waiting already; try again in {retry_after_s} s")
        self.headers = [("Retry-After", str(retry_after_s))]


@dataclass(frozen=True)
class RequestCost:
    """Images to generate, and the estimated seconds of one core to encode them."""

    images: int
    encode_s: float = 0.0

    @property
    def slow_to_encode(self) -> bool:
        """True if dedicated threads encode the result."""
        return self.encode_s > FAST_ENCODE_S

    @property
    def bulk(self) -> bool:
        """True if interactive requests overtake this one, and part of each bound is closed to it."""
        return self.images > MAX_INTERACTIVE_IMAGES or self.slow_to_encode


class Admission:
    """Accounts for the work that is accepted and not yet done, and refuses what exceeds the bounds."""

    def __init__(self, max_images: int, max_encode_s: float) -> None:
        self.max_images = max_images
        self.max_encode_s = max_encode_s
        self.images = self.bulk_images = 0
        self.encode_s = self.bulk_encode_s = 0.0

    def check(self, cost: RequestCost, images_per_s: float, encoders: int) -> None:
        """Raise QueueFullError unless the request fits now; the rates predict when pending work will be done.

        Bulk requests leave a quarter of each bound to interactive ones. A request larger than the bulk share is
        accepted if no other bulk request is pending, since otherwise it never would be.
        """
        share = BULK_SHARE if cost.bulk else 1.0
        images = self.bulk_images if cost.bulk else self.images
        encode_s = self.bulk_encode_s if cost.bulk else self.encode_s
        pending_s = max(self.images / images_per_s, self.encode_s / encoders)
        retry_after_s = min(math.ceil(pending_s) or 1, MAX_RETRY_AFTER_S)
        over_share = images + cost.images > share * self.max_images and images > 0
        if over_share or self.images + cost.images > self.max_images:
            raise QueueFullError(f"{self.images} images are", retry_after_s)
        if encode_s + cost.encode_s > share * self.max_encode_s and encode_s > 0:
            raise QueueFullError(f"about {self.encode_s:.0f} s of encoding are", retry_after_s)

    def add(self, cost: RequestCost) -> None:
        """Count an accepted request."""
        self._count(cost, 1)

    def release(self, cost: RequestCost) -> None:
        """Stop counting a request."""
        self._count(cost, -1)

    def _count(self, cost: RequestCost, sign: int) -> None:
        self.images += sign * cost.images
        self.encode_s += sign * cost.encode_s
        if cost.bulk:
            self.bulk_images += sign * cost.images
            self.bulk_encode_s += sign * cost.encode_s
        if not self.images:  # rounding errors of the sums would remain
            self.encode_s = 0.0
        if not self.bulk_images:
            self.bulk_encode_s = 0.0


@dataclass(eq=False)
class GenerationRequest:
    """One caller's request in the queue, and the images generated for it so far."""

    generator: OnnxGenerator
    inputs: BatchInputs
    render: Render
    result: asyncio.Future[Any]
    cost: RequestCost
    arrived: float = field(default_factory=time.perf_counter)
    scheduled: int = 0  # rows that are in a batch; the rest waits
    in_progress: bool = False  # a thread works on it: it counts until that ends, even if its client has disconnected
    admitted: bool = True  # it counts against the bounds
    outputs: list[BatchOutput] = field(default_factory=list)
    failure: BaseException | None = None

    @property
    def waiting(self) -> bool:
        """True while rows of it are not in a batch yet."""
        return self.scheduled < len(self.inputs)

    @property
    def complete(self) -> bool:
        """True if it needs no further run."""
        return self.failure is not None or sum(len(output.images) for output in self.outputs) == len(self.inputs)

    def rendered(self) -> Any:
        """The rendered result of all its images."""
        if len(self.outputs) == 1:
            return self.render(*self.outputs[0])
        images = np.concatenate([output.images for output in self.outputs])
        return self.render(images, join_labels([output.labels for output in self.outputs]))


@dataclass(frozen=True)
class BatchPart:
    """The rows of one request that are in a batch."""

    request: GenerationRequest
    rows: slice

    def __len__(self) -> int:
        return len(range(self.rows.start, self.rows.stop))


class Batch:
    """Parts of requests for one generator, one after another, as the inputs of one run."""

    def __init__(self, parts: list[BatchPart]) -> None:
        self.parts = parts
        self.ends: list[int] = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self.ends[-1]

    def arrays(self, rows: slice) -> ArrayInputs:
        """The network's inputs for these rows, as each request computes its own."""
        arrays = []
        for part, end in zip(self.parts, self.ends, strict=True):
            shift = part.rows.stop - end  # from a row of the batch to the request's
            part_rows = slice(max(part.rows.start, rows.start + shift), min(part.rows.stop, rows.stop + shift))
            if part_rows.start < part_rows.stop:
                arrays.append(part.request.inputs.arrays(part_rows))
        if len(arrays) == 1:
            return arrays[0]
        return ArrayInputs(
            np.concatenate([each.latents for each in arrays]), join_labels([each.labels for each in arrays])
        )

    def split(self, output: BatchOutput) -> list[BatchOutput]:
        """The output of each part."""
        return [output.rows(slice(end - len(part), end)) for part, end in zip(self.parts, self.ends, strict=True)]


class RequestQueue:
    """Requests with rows that wait. Interactive requests overtake bulk ones, which get at least every other batch."""

    def __init__(self) -> None:
        self._interactive: deque[GenerationRequest] = deque()
        self._bulk: deque[GenerationRequest] = deque()
        self._bulk_first = False  # the last batch was full and held few rows of the waiting bulk requests

    def __len__(self) -> int:
        return len(self._interactive) + len(self._bulk)

    def put(self, request: GenerationRequest) -> None:
        """Append a request to those of its priority."""
        self._queue_for(request).append(request)

    def discard(self, request: GenerationRequest) -> None:
        """Remove a request, if it is here."""
        if request in self._queue_for(request):
            self._queue_for(request).remove(request)

    def requests(self) -> list[GenerationRequest]:
        """All requests here."""
        return [*self._interactive, *self._bulk]

    def next_batch(self, max_batch: int) -> list[BatchPart]:
        """Take rows of one generator until the batch is full; requests without further rows leave the queue."""
        first, second = self._interactive, self._bulk
        if second and (self._bulk_first or not first):
            first, second = second, first
        parts: list[BatchPart] = []
        free = max_batch
        for request in chain(first, second):
            if not free:
                break
            if parts and request.generator is not parts[0].request.generator:
                continue
            if not request.scheduled:
                WAIT.observe(time.perf_counter() - request.arrived)
            rows = slice(request.scheduled, min(request.scheduled + free, len(request.inputs)))
            parts.append(BatchPart(request, rows))
            request.scheduled = rows.stop
            request.in_progress = True
            free -= len(parts[-1])
        for part in parts:
            if not part.request.waiting:
                self._queue_for(part.request).remove(part.request)
        bulk_rows = sum(len(part) for part in parts if part.request.cost.bulk)
        self._bulk_first = bool(self._bulk) and not free and bulk_rows < max_batch // 4
        return parts

    def _queue_for(self, request: GenerationRequest) -> deque[GenerationRequest]:
        return self._bulk if request.cost.bulk else self._interactive
