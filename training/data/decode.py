"""Image decoding: any supported file to one size in sRGB, upright, at full range, its first frame only."""

import io
from threading import Lock
from typing import NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from serving.inference.image_shape import RGBA, Resolution
from training.data.colour import to_srgb
from training.data.sources.base import HEAD_BYTES, Pixels, UnreadableImageError
from training.data.sources.file_types import PILLOW_FORMATS, explain_unreadable
from training.param_sections import DataParams

MAX_MEGAPIXELS = 250  # guards against decompression bombs: a few kilobytes can declare gigapixels
LARGE_IMAGE = 40e6  # pixels; larger images are decoded one at a time, as 250 megapixels in RGB take a gigabyte
DRAFT_MARGIN = 3  # the decoder may downscale to this many times the longer side; the filter does the rest
MAX_ENLARGED = 8  # largest upscaling factor; smaller images have no detail to learn
MAX_CROPPED = 10  # times its centre crop that an image may be: the crop of a longer strip shows too little

ORIENTATION = 0x0112  # EXIF tag
FIRST_TRANSPOSING = 5  # EXIF orientations from here on swap width and height
EXIF_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Replaced by MAX_MEGAPIXELS: Pillow's limit only warns below twice its value.
Image.MAX_IMAGE_PIXELS = None
# Pillow's limit of 1 MiB per compressed chunk refuses the ICC profiles of printers.
PngImagePlugin.MAX_TEXT_CHUNK = 16 << 20

JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
JPEG_FILLER = bytes(73 * i % 255 for i in range(4096))  # arbitrary, without 0xff, which starts a marker
COMPARISON_SIDE = 1024  # pixels
PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_CHUNK_OVERHEAD = 12  # bytes of length, type and checksum
REDUCIBLE = ("L", "LA", "RGB", "RGBA", "CMYK")

# TIFF tags
SUBFILE_TYPE, BITS_PER_SAMPLE, PHOTOMETRIC, SUB_IFDS, DNG_VERSION = 254, 258, 262, 330, 50706

_large_image_lock = Lock()

Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels


class DecodedImage(NamedTuple):
    """A decoded image in the form that networks train on."""

    pixels: Pixels  # [H, W, C]
    enlarged: bool  # upscaled, because the image was smaller


def load_image(content: bytes | Pixels, data: DataParams) -> DecodedImage:
    """Decode an image, crop its centre and resize it, antialiased, to the resolution and channels of `data`.

    content: an image file, or pixels [H, W] or [H, W, C] with C 1, 3 or 4. Smaller images are upscaled, at most
    MAX_ENLARGED times. Raises UnreadableImageError with the reason.
    """
    resolution = data.resolution
    image = _decode(content, max(resolution)) if isinstance(content, bytes) else _from_pixels(content)
    try:
        image = _apply_exif_orientation(_to_eight_bits(image))
        box = _centre_box(image, resolution)
        _refuse_tiny_and_elongated(image, box, resolution)
        image = to_srgb(image if box == (0, 0, *image.size) else image.crop(box))
        image = _to_channels(image, data)
    except (OSError, ValueError) as error:
        raise UnreadableImageError(f"its colours cannot be converted: {error}") from None
    enlarged = image.width < resolution.width
    size = (resolution.width, resolution.height)
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)  # Pillow weights colours by alpha
    pixels = np.array(image, np.uint8).reshape(*resolution, data.channels)
    if data.channels == RGBA:
        pixels[pixels[..., 3] == 0] = 0  # one colour for what cannot be seen: transparent black
    return DecodedImage(pixels, enlarged)


def _decode(content: bytes, side: int) -> Image.Image:
    """Decode the first frame of an image file. Raises UnreadableImageError when it is damaged or too large."""
    if not content:
        raise UnreadableImageError("empty file")
    try:
        return _load(content, side)
    except UnreadableImageError:
        raise
    except Exception as error:  # Pillow's decoders raise almost any exception on damaged data
        repaired = _repair(content, side)
        if repaired is not None:
            return repaired
        # Pillow's message for an unknown format holds a memory address, which differs from run to run.
        unknown = isinstance(error, UnidentifiedImageError)
        reason = explain_unreadable(content[:HEAD_BYTES]) if unknown else f"damaged or truncated: {error}"
        raise UnreadableImageError(reason) from None


def _load(content: bytes, side: int) -> Image.Image:
    """Decode an image file, possibly downscaled to no less than DRAFT_MARGIN times `side`."""
    image = Image.open(io.BytesIO(content), formats=PILLOW_FORMATS)
    megapixels = image.width * image.height / 1e6
    if megapixels > MAX_MEGAPIXELS:
        raise UnreadableImageError(f"too large: {megapixels:.0f} megapixels, the limit is {MAX_MEGAPIXELS}")
    if _is_camera_raw(image):
        raise UnreadableImageError("camera RAW, a format that Mint does not read; convert it to PNG or JPEG")
    image.draft(None, (DRAFT_MARGIN * side,) * 2)
    if image.width * image.height < LARGE_IMAGE:
        image.load()
        return image
    with _large_image_lock:
        image.load()
        factor = min(image.size) // (DRAFT_MARGIN * side)
        return image.reduce(factor) if factor > 1 and image.mode in REDUCIBLE else image


def _is_camera_raw(image: Image.Image) -> bool:
    """Return whether a TIFF is DNG, NEF, ARW or alike, of which Pillow would decode only the thumbnail."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    tags = image.tag_v2
    return DNG_VERSION in tags or (SUB_IFDS in tags and bool(tags.get(SUBFILE_TYPE, 0) & 1))


def _repair(content: bytes, side: int) -> Image.Image | None:
    """Decode a file whose pixels are complete and only other parts are missing or damaged; None for other files."""
    try:
        if content.startswith(JPEG_START):
            return _repair_jpeg(content.rstrip(b"\xff"), side)
        if content.startswith(PNG_START):
            return _load(_strip_png_metadata(content), side)
    except Exception:  # as in _decode
        return None
    return None


def _repair_jpeg(content: bytes, side: int) -> Image.Image | None:
    """Decode a JPEG without its end marker; None if pixels are missing as well.

    libjpeg fills in pixels that are missing before an end marker, so pixels are missing if filler bytes change them.
    The comparison needs a large size: strongly downscaled, a progressive file looks complete after a tenth.
    """
    image = _load(content + JPEG_END, COMPARISON_SIDE)
    filled = _load(content + JPEG_FILLER + JPEG_END, COMPARISON_SIDE)
    return _load(content + JPEG_END, side) if image.tobytes() == filled.tobytes() else None


def _strip_png_metadata(content: bytes) -> bytes:
    """Return the PNG without ancillary chunks such as texts and profiles, which may be damaged or too long."""
    kept, position = [PNG_START], len(PNG_START)
    while position < len(content):
        end = position + PNG_CHUNK_OVERHEAD + int.from_bytes(content[position : position + 4], "big")
        kind = content[position + 4 : position + 8]
        if kind[:1].isupper() or kind == b"tRNS":  # upper case: critical chunk (PNG specification, section 5.4)
            kept.append(content[position:end])
        position = end
    return b"".join(kept)


def _refuse_tiny_and_elongated(image: Image.Image, box: Box, resolution: Resolution) -> None:
    """Raise UnreadableImageError for an image whose centre crop would be useless."""
    size = f"{image.width}x{image.height} pixels"
    least = Resolution(*(-(-side // MAX_ENLARGED) for side in resolution))
    if image.width < least.width or image.height < least.height:
        limit = f"{least} a side" if least.height == least.width else f"{least.width}x{least.height}"
        raise UnreadableImageError(f"too small: {size}, the limit is {limit}")
    left, top, right, bottom = box
    if image.width * image.height > MAX_CROPPED * (right - left) * (bottom - top):
        raise UnreadableImageError(
            f"a strip of {size}, whose centre crop is less than {1 / MAX_CROPPED:.0%} of it; cut it into pictures"
        )


def _from_pixels(pixels: Pixels) -> Image.Image:
    """Convert pixels [H, W] or [H, W, C] to an image."""
    return Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)


def _apply_exif_orientation(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; damaged EXIF data is ignored."""
    try:
        transpose = EXIF_TRANSPOSE.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # as in _decode
        return image
    return image if transpose is None else image.transpose(transpose)


def _centre_box(image: Image.Image, resolution: Resolution) -> Box:
    """The largest box around the centre with the aspect ratio of `resolution`: left, top, right, bottom."""
    width = min(image.width, max(1, round(image.height * resolution.width / resolution.height)))
    height = min(image.height, max(1, round(image.width * resolution.height / resolution.width)))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return left, top, left + width, top + height


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale grey of 9 to 16 bits to 8, which Pillow would clip. Raises UnreadableImageError for 32 bits per channel.

    Must come first: the images that other steps return have lost their file format.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        largest, inverted = 65535, False
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            largest = 2 ** int(image.tag_v2.get(BITS_PER_SAMPLE, (16,))[0]) - 1
            inverted = image.tag_v2.get(PHOTOMETRIC) == 0  # white is 0; Pillow inverts no more than 8 bits
        scaled = np.rint(np.arange(largest + 1) * (255 / largest)).astype(np.uint8)
        converted = Image.fromarray((scaled[::-1] if inverted else scaled).take(np.asarray(image), mode="clip"))
        # Without the transparent value, which has 16 bits.
        converted.info = {key: value for key, value in image.info.items() if key != "transparency"}
        return converted
    if image.mode in ("I", "F"):
        raise UnreadableImageError("32 bits a channel, or negative values; save it with 8 or 16 bits")
    return image


def _to_channels(image: Image.Image, data: DataParams) -> Image.Image:
    """Convert to grey, RGB or RGBA; without alpha, a transparent image is composited over the background colour."""
    if data.channels == RGBA:
        return image.convert("RGBA")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGB", image.size, data.background)
        image.paste(layer, mask=layer)
    return image.convert("L" if data.channels == 1 else "RGB")


def decode_upright(content: bytes | Pixels, side: int) -> tuple[Image.Image, tuple[int, int]]:
    """Decode a whole image, upright and with 8 bits a channel, for a look at it; also its full width and height.

    content: as in load_image. side: the decoder may downscale the image to DRAFT_MARGIN times this many pixels.
    Raises UnreadableImageError with the reason.
    """
    if not isinstance(content, bytes):
        image = _from_pixels(content)
        return image, image.size
    image = _apply_exif_orientation(_to_eight_bits(_decode(content, side)))
    try:
        header = Image.open(io.BytesIO(content), formats=PILLOW_FORMATS)  # reads no pixels
        turned = header.getexif().get(ORIENTATION, 1) >= FIRST_TRANSPOSING
    except Exception:  # as in _decode
        return image, image.size
    return image, header.size[::-1] if turned else header.size
