"""Estimated encoding time of an answer: it decides whether a request is accepted and which threads encode it.

Figures of one core of a slow server, for pictures that compress badly: an estimate that is too high refuses a little
early, one that is too low lets others wait.
"""

SECONDS_PER_MEGAPIXEL = {  # of three channels
    "npy": 0.005,
    "jpeg": 0.02,
    "png": 0.1,
    "zip": 0.15,
    "json": 0.2,
    "gif": 0.25,
    "webp": 1.0,  # without loss
}
SECONDS_PER_IMAGE = 0.0002


def encoding_seconds(images: int, side: int, channels: int, format: str) -> float:
    """Seconds of one core that it takes to scale images [images, side, side, channels] and to encode them."""
    megapixels = images * side * side * channels / 3e6
    return images * SECONDS_PER_IMAGE + megapixels * SECONDS_PER_MEGAPIXEL[format]
