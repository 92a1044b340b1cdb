"""Feature-map pyramid of a convolutional network: sides and widths of maps that double or halve level by level."""

MAX_WIDTH_FACTOR = 8  # widest layer over narrowest, as in DCGAN at 64 px


def pyramid(resolution: int) -> tuple[int, int]:
    """Side of the smallest feature map, and number of doublings: 64 -> (4, 4), 28 -> (7, 2), 96 -> (6, 4)."""
    side, doublings = resolution, 0
    while side % 2 == 0 and side > 7:
        side, doublings = side // 2, doublings + 1
    return side, doublings


def layer_widths(width: int, levels: int) -> list[int]:
    """Channels of each feature map, from the smallest and widest map down to `width`."""
    return [width * min(2**level, MAX_WIDTH_FACTOR) for level in reversed(range(levels))]
