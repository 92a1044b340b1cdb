"""Admission control: bounds on pending images and encoding, and the share of bulk requests."""

import pytest

from serving.encoding.images import encoding_seconds
from serving.inference.image_shape import Resolution
from serving.inference.request_queue import Admission, QueueFullError, RequestCost


def test_a_plain_image_is_interactive_and_costly_requests_are_bulk() -> None:
    assert not RequestCost(1, encoding_seconds(1, Resolution(64, 64), 3, "png")).bulk
    for images, side, format in (
        (1, 2047, "png"),
        (1, 1024, "webp"),
        (1, 512, "jpeg"),
        (16, 64, "gif"),
        (256, 64, "npy"),
    ):
        assert RequestCost(images, encoding_seconds(images, Resolution(side, side), 3, format)).bulk, (
            images,
            side,
            format,
        )
    assert RequestCost(64).bulk


def test_bulk_requests_leave_a_quarter_of_each_bound_to_interactive_ones() -> None:
    admission = Admission(100, 20)

    def accepts(cost: RequestCost) -> bool:
        try:
            admission.check(cost, images_per_s=10, encoders=1)
        except QueueFullError:
            return False
        admission.add(cost)
        return True

    assert accepts(RequestCost(70, 1.0))
    assert not accepts(RequestCost(6))
    assert accepts(RequestCost(5, 13.0))
    assert not accepts(RequestCost(1, 2.0))  # 16 s of encoding, of which bulk requests get 15
    assert [accepts(RequestCost(1, 0.001)) for _ in range(26)] == [True] * 25 + [False]
    admission.release(RequestCost(70, 1.0))
    assert accepts(RequestCost(40, 2.0))


def test_a_request_above_the_bulk_share_is_accepted_as_the_only_bulk_request() -> None:
    admission = Admission(100, 20)
    admission.add(RequestCost(1, 0.001))
    for cost in (RequestCost(99), RequestCost(1, 40.0)):
        admission.check(cost, images_per_s=10, encoders=1)
        admission.add(cost)
        with pytest.raises(QueueFullError, match=r"(images|s of encoding) are waiting already; try again in \d+ s"):
            admission.check(
                RequestCost(1, 0.01) if cost.slow_to_encode else RequestCost(5), images_per_s=10, encoders=1
            )
        admission.release(cost)
    assert (admission.images, admission.bulk_images, admission.bulk_encode_s) == (1, 0, 0)
