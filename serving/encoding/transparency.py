"""Images with transparency: RGBA, colours not premultiplied by alpha, as PNG and WebP hold them."""

import numpy as np

from serving.inference.image_shape import RGBA
from serving.inference.latents import Images

WHITE = "#ffffff"


def composite(images: Images, background: str) -> Images:
    """Show images uint8 [..., H, W, 4] over a colour `#rrggbb`, as uint8 [..., H, W, 3]; others are returned unchanged.

    The result is alpha colour + (1 - alpha) background, of values as they are stored, as browsers do it (Porter and
    Duff 1984, "Compositing Digital Images", operator over).
    """
    if images.shape[-1] != RGBA:
        return images
    behind = np.frombuffer(bytes.fromhex(background.removeprefix("#")), np.uint8).astype(np.uint16)
    alpha = images[..., 3:].astype(np.uint16)
    shown: Images = ((images[..., :3] * alpha + behind * (255 - alpha) + 127) // 255).astype(np.uint8)
    return shown
