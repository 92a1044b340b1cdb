"""Parallel execution of a network: on a GPU, or on all cores of the CPU at once."""

import math
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Literal, NamedTuple

import numpy as np
import onnxruntime

from serving.inference.latents import ArrayInputs, BatchInputs, Images, Labels
from serving.inference.ort_session import Provider, open_session

Task = Callable[[], None]

# Images that a core runs at a time. With 4, call overhead; with 32, load imbalance; in between, the difference depends
# on the network and is within noise.
CHUNK_SIZE = 16


class BatchOutput(NamedTuple):
    """Images uint8 [N, H, W, C], and the labels int64 [N] they were made for; None for a model without classes."""

    images: Images
    labels: Labels | None

    def rows(self, rows: slice) -> "BatchOutput":
        """Slice images and labels."""
        return BatchOutput(self.images[rows], None if self.labels is None else self.labels[rows])


class ParallelSession:
    """Runs batches. Safe to run from several threads.

    On the CPU a batch is split by images: each core takes a few at a time through all layers in a single-thread
    session. Cores then synchronise once a batch and not once a layer, which costs more than a small layer itself, and a
    core that was held up takes fewer images (docs/serving.md has figures). A batch of fewer images than cores runs in
    one session that splits each layer (intra-op threads).
    """

    def __init__(self, content: bytes, path: Path, provider: Provider, threads: int) -> None:
        """threads: CPU threads of one run; 0: every core. Raises ModelError as `open_session` does."""
        self._intra_op_session = open_session(content, path, provider, threads)
        self.workers = 1 if self.provider == "cuda" else threads or len(os.sched_getaffinity(0))
        if self.workers > 1:
            self._single_thread_session = open_session(content, path, "cpu", 1)
            self._tasks = _start_threads(self, self.workers - 1)  # the caller's thread is a worker, too

    @property
    def ort_session(self) -> onnxruntime.InferenceSession:
        """The underlying session, for its inputs, outputs and metadata."""
        return self._intra_op_session

    @property
    def provider(self) -> Literal["cpu", "cuda"]:
        """The hardware that the network runs on."""
        return "cuda" if self._intra_op_session.get_providers()[0] == "CUDAExecutionProvider" else "cpu"

    def run(self, inputs: BatchInputs) -> BatchOutput:
        """Run one batch.

        The caller computes the inputs chunk by chunk, so that the other cores run the first while it computes the next,
        and then runs chunks, too. If each core computed its own inputs, they would contend for the GIL.
        """
        count = len(inputs)
        if self.workers == 1 or count < self.workers:
            arrays = inputs.arrays(slice(0, count))
            return BatchOutput(_run(self._intra_op_session, arrays), arrays.labels)
        chunks: SimpleQueue[tuple[int, ArrayInputs] | None] = SimpleQueue()
        finished: SimpleQueue[Exception | None] = SimpleQueue()
        images: dict[int, Images] = {}
        labels: list[Labels | None] = []

        def run_chunks() -> None:
            while (chunk := chunks.get()) is not None:
                start, arrays = chunk
                images[start] = _run(self._single_thread_session, arrays)

        def run_chunks_in_thread() -> None:
            try:
                run_chunks()
            except Exception as error:  # ONNX Runtime's exceptions share no other base
                finished.put(error)
            else:
                finished.put(None)

        threads = 0
        try:
            for rows in chunk_rows(count, self.workers):
                arrays = inputs.arrays(rows)
                labels.append(arrays.labels)
                chunks.put((rows.start, arrays))
                if threads < self.workers - 1:
                    self._tasks.put(run_chunks_in_thread)
                    threads += 1
        finally:
            for _ in range(self.workers):
                chunks.put(None)
        run_chunks()
        for error in [finished.get() for _ in range(threads)]:
            if error is not None:
                raise error
        return BatchOutput(np.concatenate([images[start] for start in sorted(images)]), join_labels(labels))


def chunk_rows(count: int, workers: int) -> list[slice]:
    """The rows of a batch in the chunks that cores run, in order.

    All chunks have the same length, except in a large batch: there the first is cut so that the other cores begin soon,
    and the last so that all of them finish at about the same time.
    """
    size = min(CHUNK_SIZE, math.ceil(count / workers))
    starts = set(range(0, count, size))
    if size == CHUNK_SIZE:
        starts |= {CHUNK_SIZE // 4, count - CHUNK_SIZE // 4}
    ends = [*sorted(starts), count][1:]
    return [slice(start, end) for start, end in zip(sorted(starts), ends, strict=True)]


def join_labels(parts: list[Labels | None]) -> Labels | None:
    """The labels of several parts of one model's images in one array; None for a model without classes."""
    labels = [part for part in parts if part is not None]
    return np.concatenate(labels) if labels else None


def _start_threads(session: ParallelSession, count: int) -> SimpleQueue[Task | None]:
    """Start threads that run the tasks of a queue for as long as the session exists; return the queue.

    ThreadPoolExecutor creates a future for each task, which is slow where a task takes a few milliseconds.
    """
    tasks: SimpleQueue[Task | None] = SimpleQueue()

    def work() -> None:
        while (task := tasks.get()) is not None:
            task()
            del task  # it refers to the session, which would stay alive until the next task

    def stop() -> None:
        for _ in range(count):
            tasks.put(None)

    for number in range(count):
        threading.Thread(target=work, name=f"mint-run-{number}", daemon=True).start()
    weakref.finalize(session, stop)
    return tasks


def _run(session: onnxruntime.InferenceSession, inputs: ArrayInputs) -> Images:
    feed = {"z": inputs.latents} if inputs.labels is None else {"z": inputs.latents, "label": inputs.labels}
    images: Images = session.run(["images"], feed)[0]
    return images
