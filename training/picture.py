"""One image file -> one square of pixels, the way a person sees the file: upright, whole range, first frame."""

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from training.params import DataParams
from training.sources.items import Pixels, UnreadableError

# Every format here is decoded in process; Pillow's others start programs or fetch nothing that one would train on.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM")
MAX_MEGAPIXELS = 100  # a few kilobytes can claim to be gigapixels and fill the memory when decoded
DRAFT_MARGIN = 3  # JPEG decoding may shrink by itself to this many times the resolution; the filter does the rest

ORIENTATION = 0x0112  # EXIF tag
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# MAX_MEGAPIXELS takes the place of Pillow's own limit, which below its double only prints a warning.
Image.MAX_IMAGE_PIXELS = None


def square(content: bytes | Pixels, data: DataParams) -> Pixels:
    """The centre square of an image at the resolution and channels asked for, antialiased: uint8 [R, R, C].

    content: an image file, or pixels [H, W] or [H, W, C] with C 1, 3 or 4. Raises UnreadableError with the reason.
    """
    image = _decode(content, data.resolution) if isinstance(content, bytes) else _from_pixels(content)
    try:
        image = _eight_bits(_centre(_upright(image)))
        image = _opaque(image, data.background).convert("L" if data.channels == 1 else "RGB")
    except (OSError, ValueError) as error:
        raise UnreadableError(f"its colours cannot be converted: {error}") from None
    if image.width != data.resolution:
        image = image.resize((data.resolution, data.resolution), Image.Resampling.LANCZOS)
    return np.asarray(image, np.uint8).reshape(data.resolution, data.resolution, data.channels)


def _decode(content: bytes, resolution: int) -> Image.Image:
    """The first frame of an image file. Raises UnreadableError for anything that is not one, whole and of sane size."""
    if not content:
        raise UnreadableError("empty file")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        megapixels = image.width * image.height / 1e6
        if megapixels <= MAX_MEGAPIXELS:
            image.draft(None, (DRAFT_MARGIN * resolution,) * 2)
            image.load()
            return image
    except UnidentifiedImageError:  # its text holds a memory address, which would change the manifest at every run
        raise UnreadableError("not an image, or of an unknown format") from None
    except Exception as error:  # damaged bytes make Pillow's decoders raise nearly anything
        raise UnreadableError(f"damaged or truncated: {error}") from None
    raise UnreadableError(f"too large: {megapixels:.0f} megapixels, the limit is {MAX_MEGAPIXELS}")


def _from_pixels(pixels: Pixels) -> Image.Image:
    """Pixels as an image; one channel needs no axis of its own."""
    return Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)


def _upright(image: Image.Image) -> Image.Image:
    """Turned and mirrored as its EXIF orientation says; as it is where the EXIF data is damaged."""
    try:
        turn = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # as above, and a picture with a damaged note on it is still a picture
        return image
    return image if turn is None else image.transpose(turn)


def _centre(image: Image.Image) -> Image.Image:
    """The largest square around the centre."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image if image.width == image.height else image.crop((left, top, left + side, top + side))


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits, which Pillow itself would clip. Raises UnreadableError for 32 bits a channel."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return Image.fromarray(np.rint(np.asarray(image) / np.float32(257)).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise UnreadableError("32 bits a channel; save it with 8 or 16")
    return image


def _opaque(image: Image.Image, background: str) -> Image.Image:
    """Laid on the background colour, where any part of it is transparent."""
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    flat = Image.new("RGB", image.size, background)
    flat.paste(layer, mask=layer)
    return flat
