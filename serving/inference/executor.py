"""The network of a model file on what there is: a GPU, or all the cores of the CPU at once."""

import math
import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Literal, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from serving.inference.latents import Labels, Latents
from serving.inference.ort_session import Provider, open_session

Feed = dict[str, NDArray[np.generic]]
Images = NDArray[np.uint8]

Job = Callable[[], None]

# Images of one turn of a core. With 4 the runs themselves cost, with 32 the cores end far apart; in between, which one
# is quicker depends on the network and differs by less than a machine does from itself.
SHARE = 16


class BatchInputs(Protocol):
    """What a batch of images is made of: there already, or made when the network comes to it."""

    def __len__(self) -> int:
        """The number of images."""

    def feed(self, rows: slice) -> Feed:
        """What the network reads for these rows; one thread asks, but it may ask again."""


@dataclass(frozen=True)
class ArrayInputs:
    """Inputs that are there already: latents [N, latent_dim] and labels [N], or None for a model without classes."""

    latents: Latents
    labels: Labels | None

    def __len__(self) -> int:
        return len(self.latents)

    def feed(self, rows: slice) -> Feed:
        """The arrays of these rows by the names of the network's inputs."""
        feed: Feed = {"z": self.latents[rows]}
        if self.labels is not None:
            feed["label"] = self.labels[rows]
        return feed


class ParallelSession:
    """Runs batches. Safe to run from several threads.

    On the CPU a batch is shared out: each core takes a few images at a time through all the layers on its own, instead
    of a part of every layer. Cores then wait for one another once a batch and not once a layer, which a small layer is
    not worth, and one that was held up takes fewer (docs/serving.md has figures). With fewer images than cores, the
    cores share each layer.
    """

    def __init__(self, content: bytes, path: Path, provider: Provider, threads: int) -> None:
        """threads: CPU threads of one run; 0: every core. Raises ModelError as `open_session` does."""
        self._together = open_session(content, path, provider, threads)
        self.lanes = 1 if self.provider == "cuda" else threads or len(os.sched_getaffinity(0))
        if self.lanes > 1:
            self._alone = open_session(content, path, "cpu", 1)
            self._jobs = _start_helpers(self, self.lanes - 1)  # the caller's thread is a lane, too

    @property
    def description(self) -> onnxruntime.InferenceSession:
        """The session to ask for inputs, outputs and metadata."""
        return self._together

    @property
    def provider(self) -> Literal["cpu", "cuda"]:
        """What the network really runs on."""
        return "cuda" if self._together.get_providers()[0] == "CUDAExecutionProvider" else "cpu"

    def run(self, inputs: BatchInputs) -> Images:
        """A batch of images uint8 [N, H, W, C].

        The caller makes the inputs share by share: the other cores run the first while it makes the next, and then it
        takes part. Were each core to make its own, they would keep one another from the interpreter.
        """
        count = len(inputs)
        if self.lanes == 1 or count < self.lanes:
            return _images(self._together, inputs.feed(slice(0, count)))
        waiting: SimpleQueue[tuple[int, Feed] | None] = SimpleQueue()
        ended: SimpleQueue[Exception | None] = SimpleQueue()
        images: dict[int, Images] = {}

        def work() -> None:
            while (share := waiting.get()) is not None:
                start, feed = share
                images[start] = _images(self._alone, feed)

        def help() -> None:
            try:
                work()
            except Exception as error:  # ONNX Runtime's exceptions share no other base
                ended.put(error)
            else:
                ended.put(None)

        helpers = 0
        try:
            for rows in shares_of(count, self.lanes):
                waiting.put((rows.start, inputs.feed(rows)))
                if helpers < self.lanes - 1:
                    self._jobs.put(help)
                    helpers += 1
        finally:
            for _ in range(self.lanes):
                waiting.put(None)
        work()
        for failure in [ended.get() for _ in range(helpers)]:
            if failure is not None:
                raise failure
        return np.concatenate([images[start] for start in sorted(images)])


def shares_of(count: int, lanes: int) -> list[slice]:
    """The rows of a batch in the shares that cores take, one after another.

    All have the same length, but for a large batch: the first share is cut so that the other cores begin soon, and the
    last so that all of them end at about the same time.
    """
    size = min(SHARE, math.ceil(count / lanes))
    starts = set(range(0, count, size))
    if size == SHARE:
        starts |= {SHARE // 4, count - SHARE // 4}
    ends = [*sorted(starts), count][1:]
    return [slice(start, end) for start, end in zip(sorted(starts), ends, strict=True)]


def _start_helpers(network: ParallelSession, count: int) -> SimpleQueue[Job | None]:
    """Threads that do the jobs in a queue, for as long as there is the network.

    An executor does the same with a future for each job, which is slow where a job takes a few milliseconds.
    """
    jobs: SimpleQueue[Job | None] = SimpleQueue()

    def work() -> None:
        while (job := jobs.get()) is not None:
            job()
            del job  # it knows the network, which could not go while the next one is waited for

    def dismiss() -> None:
        for _ in range(count):
            jobs.put(None)

    for number in range(count):
        threading.Thread(target=work, name=f"mint-lane-{number}", daemon=True).start()
    weakref.finalize(network, dismiss)
    return jobs


def _images(session: onnxruntime.InferenceSession, feed: Feed) -> Images:
    images: Images = session.run(["images"], feed)[0]
    return images
