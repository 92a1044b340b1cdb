"""The levels of a resolution: the feature maps of a network that halves or doubles its side, and their widths."""

WIDEST = 8  # the widest layer has this many times the width of the narrowest, as DCGAN at 64 px


def pyramid(resolution: int) -> tuple[int, int]:
    """The side of the smallest feature map and how often it doubles: 64 -> (4, 4), 28 -> (7, 2), 96 -> (6, 4)."""
    side, doublings = resolution, 0
    while side % 2 == 0 and side > 7:
        side, doublings = side // 2, doublings + 1
    return side, doublings


def layer_widths(width: int, levels: int) -> list[int]:
    """Channels of each feature map, from the widest (smallest map) to `width`."""
    return [width * min(2**level, WIDEST) for level in reversed(range(levels))]
