"""Requests for images as they wait in the queue, and batches of their rows as they run."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.inference.admission import Work
from serving.inference.executor import BatchInputs, Feed, Images
from serving.inference.generator import OnnxGenerator

N = TypeVar("N", bound=np.generic)


@dataclass(eq=False)
class ImageRequest:
    """What one caller's images are made of, and those made so far, [N, H, W, C]."""

    generator: OnnxGenerator
    inputs: BatchInputs
    render: Callable[[Images], Any]
    answer: asyncio.Future[Any]
    work: Work
    arrived: float = field(default_factory=time.perf_counter)
    taken: int = 0  # rows that a run has taken; the others wait
    busy: bool = False  # a thread works on it: its room returns when that ends, whether its client is there or not
    admitted: bool = True  # it takes up room
    images: list[Images] = field(default_factory=list)
    failure: BaseException | None = None

    @property
    def waiting(self) -> bool:
        """Whether rows of it have not run yet."""
        return self.taken < len(self.inputs)

    @property
    def complete(self) -> bool:
        """Whether it needs no further run."""
        return self.failure is not None or sum(map(len, self.images)) == len(self.inputs)


@dataclass(frozen=True)
class BatchPart:
    """The rows of one request that go into one run."""

    request: ImageRequest
    rows: slice

    def __len__(self) -> int:
        return len(range(self.rows.start, self.rows.stop))


class Batch:
    """The inputs of one run: parts, one after another."""

    def __init__(self, parts: list[BatchPart]) -> None:
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
        return {name: joined([feed[name] for feed in feeds]) for name in feeds[0]}


def joined(rows: list[NDArray[N]]) -> NDArray[N]:
    """Arrays one after another; a single one as it is."""
    return rows[0] if len(rows) == 1 else np.concatenate(rows)
