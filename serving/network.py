"""The network of a model file on what there is: a GPU, or all the cores of the CPU at once."""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from serving.session import Provider, open_session

Feed = dict[str, NDArray[np.generic]]
Images = NDArray[np.uint8]

SHARE = 16  # images of one turn of a core: 2 to 5% quicker than 8 on two cores, for two networks; 4 and 32 are slower


class Network:
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
            self._others = ThreadPoolExecutor(self.lanes - 1, "mint-lane")  # the caller's thread is a lane, too

    @property
    def description(self) -> onnxruntime.InferenceSession:
        """The session to ask for inputs, outputs and metadata."""
        return self._together

    @property
    def provider(self) -> Literal["cpu", "cuda"]:
        """What the network really runs on."""
        return "cuda" if self._together.get_providers()[0] == "CUDAExecutionProvider" else "cpu"

    def run(self, feed: Feed) -> Images:
        """Images uint8 [N, H, W, C] of the inputs by name, each of them [N, ...]."""
        count = len(feed["z"])
        if self.lanes == 1 or count < self.lanes:
            return _images(self._together, feed)
        size = min(SHARE, math.ceil(count / self.lanes))
        starts = iter(range(0, count, size))  # all lanes take from it; `next` on a range is atomic
        shares: dict[int, Images] = {}

        def work() -> None:
            for start in starts:
                part = {name: rows[start : start + size] for name, rows in feed.items()}
                shares[start] = _images(self._alone, part)

        others = [self._others.submit(work) for _ in range(self.lanes - 1)]
        work()
        for other in others:
            other.result()
        return np.concatenate([shares[start] for start in sorted(shares)])


def _images(session: onnxruntime.InferenceSession, feed: Feed) -> Images:
    images: Images = session.run(["images"], feed)[0]
    return images
