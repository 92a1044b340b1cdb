"""Admission control: a bound on the images, and one on the encoding, that are accepted and not yet done."""

import math
from dataclasses import dataclass

from serving.errors import MintError

LONGEST_RETRY_S = 60
SMALL_IMAGES = 4  # a request for more is large
SHORT_S = 0.002  # an answer that takes longer to encode is long: a plain PNG of up to 128 pixels is not
LARGE_SHARE = 0.75  # of each bound that large requests and long answers may take up together


class QueueFullError(MintError):
    """More work waits than the service accepts; `retry_after_s` is when there should be room."""

    def __init__(self, work: str, retry_after_s: int) -> None:
        super().__init__(f"{work} waiting already; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Work:
    """What one request asks for: images of the network, and seconds of one core to encode them, estimated."""

    images: int
    encode_s: float = 0.0

    @property
    def long(self) -> bool:
        """Whether threads of their own encode the answer."""
        return self.encode_s > SHORT_S

    @property
    def large(self) -> bool:
        """Whether a plain picture may overtake the request, and part of each bound is closed to it."""
        return self.images > SMALL_IMAGES or self.long


class Admission:
    """The work that has been accepted and is not done. Its owner holds a lock around every call."""

    def __init__(self, max_images: int, max_encode_s: float) -> None:
        self.max_images = max_images
        self.max_encode_s = max_encode_s
        self.images = self.large_images = 0
        self.encode_s = self.large_encode_s = 0.0

    def check(self, work: Work, images_per_s: float, encoders: int) -> None:
        """Raises QueueFull unless the work fits now; the rates say when the work before it should be done.

        Large requests leave a quarter of each bound to small ones. One that is larger than their share is accepted
        where no other large one is, as it would not be accepted ever.
        """
        share = LARGE_SHARE if work.large else 1.0
        images = self.large_images if work.large else self.images
        encode_s = self.large_encode_s if work.large else self.encode_s
        retry_s = max(self.images / images_per_s, self.encode_s / encoders)
        retry_after_s = min(math.ceil(retry_s) or 1, LONGEST_RETRY_S)
        too_many = images + work.images > share * self.max_images and images > 0
        if too_many or self.images + work.images > self.max_images:
            raise QueueFullError(f"{self.images} images are", retry_after_s)
        if encode_s + work.encode_s > share * self.max_encode_s and encode_s > 0:
            raise QueueFullError(f"about {self.encode_s:.0f} s of encoding are", retry_after_s)

    def add(self, work: Work) -> None:
        """Takes up room."""
        self._count(work, 1)

    def release(self, work: Work) -> None:
        """Gives it back."""
        self._count(work, -1)

    def _count(self, work: Work, sign: int) -> None:
        self.images += sign * work.images
        self.encode_s += sign * work.encode_s
        if work.large:
            self.large_images += sign * work.images
            self.large_encode_s += sign * work.encode_s
        if not self.images:  # floats that were added and subtracted do not meet at zero
            self.encode_s = 0.0
        if not self.large_images:
            self.large_encode_s = 0.0
