"""Feature-map pyramid of a convolutional network: sizes and widths of maps that double or halve level by level."""

from serving.inference.image_shape import Resolution

MAX_WIDTH_FACTOR = 8  # widest layer over narrowest, as in DCGAN at 64 px
MAX_SMALLEST_SIDE = 7  # the smallest map is halved no further once a side is this short


def pyramid(resolution: Resolution) -> tuple[Resolution, int]:
    """Size of the smallest feature map, and number of doublings: 64 -> (4, 4), 28 -> (7, 2), 96x64 -> (6x4, 4)."""
    height, width = resolution
    doublings = 0
    while height % 2 == 0 and width % 2 == 0 and min(height, width) > MAX_SMALLEST_SIDE:
        height, width, doublings = height // 2, width // 2, doublings + 1
    return Resolution(height, width), doublings


def layer_widths(width: int, levels: int, max_factor: int = MAX_WIDTH_FACTOR) -> list[int]:
    """Channels of each feature map, from the smallest and widest map, at most max_factor * width, down to `width`."""
    return [width * min(2**level, max_factor) for level in reversed(range(levels))]
