"""Image decoding: any supported file to a square in sRGB, upright, at full range, its first frame only."""

import io
from threading import Lock
from typing import NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from training.data.colour import to_srgb
from training.data.sources.base import HEAD_BYTES, Pixels, UnreadableImageError
from training.data.sources.file_types import PILLOW_FORMATS, explain_unreadable
from training.param_sections import DataParams

MAX_MEGAPIXELS = 250  # guards against decompression bombs: a few kilobytes can declare gigapixels
LARGE_IMAGE = 40e6  # pixels; larger images are decoded one at a time, as 250 megapixels in RGB take a gigabyte
DRAFT_MARGIN = 3  # the decoder may downscale to this many times the resolution; the filter does the rest
MAX_ENLARGED = 8  # largest upscaling factor; smaller images have no detail to learn
MAX_ASPECT = 10  # the centre crop of a longer strip keeps less than a tenth

ORIENTATION = 0x0112  # EXIF tag
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
COMPARISON_RESOLUTION = 1024  # pixels
PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_CHUNK_OVERHEAD = 12  # bytes of length, type and checksum
REDUCIBLE = ("L", "LA", "RGB", "RGBA", "CMYK")

# TIFF tags
SUBFILE_TYPE, BITS_PER_SAMPLE, PHOTOMETRIC, SUB_IFDS, DNG_VERSION = 254, 258, 262, 330, 50706

_large_image_lock = Lock()


class SquareImage(NamedTuple):
    """A decoded image in the form that networks train on."""

    pixels: Pixels  # [R, R, C]
    enlarged: bool  # upscaled, because the image was smaller than R


def load_square_image(content: bytes | Pixels, data: DataParams) -> SquareImage:
    """Decode an image, crop its centre square and resize it, antialiased, to the resolution and channels of `data`.

    content: an image file, or pixels [H, W] or [H, W, C] with C 1, 3 or 4. Smaller images are upscaled, at most
    MAX_ENLARGED times. Raises UnreadableImageError with the reason.
    """
    image = _decode(content, data.resolution) if isinstance(content, bytes) else _from_pixels(content)
    _refuse_tiny_and_elongated(image, data.resolution)
    try:
        image = to_srgb(_centre_crop(_apply_exif_orientation(_to_eight_bits(image))))
        image = _flatten_alpha(image, data.background).convert("L" if data.channels == 1 else "RGB")
    except (OSError, ValueError) as error:
        raise UnreadableImageError(f"its colours cannot be converted: {error}") from None
    side = image.width
    if side != data.resolution:
        image = image.resize((data.resolution, data.resolution), Image.Resampling.LANCZOS)
    pixels = np.asarray(image, np.uint8).reshape(data.resolution, data.resolution, data.channels)
    return SquareImage(pixels, enlarged=side < data.resolution)


def _decode(content: bytes, resolution: int) -> Image.Image:
    """Decode the first frame of an image file. Raises UnreadableImageError when it is damaged or too large."""
    if not content:
        raise UnreadableImageError("empty file")
    try:
        return _load(content, resolution)
    except UnreadableImageError:
        raise
    except Exception as error:  # Pillow's decoders raise almost any exception on damaged data
        repaired = _repair(content, resolution)
        if repaired is not None:
            return repaired
        # Pillow's message for an unknown format holds a memory address, which differs from run to run.
        unknown = isinstance(error, UnidentifiedImageError)
        reason = explain_unreadable(content[:HEAD_BYTES]) if unknown else f"damaged or truncated: {error}"
        raise UnreadableImageError(reason) from None


def _load(content: bytes, resolution: int) -> Image.Image:
    """Decode an image file, possibly downscaled to no less than DRAFT_MARGIN times the resolution."""
    image = Image.open(io.BytesIO(content), formats=PILLOW_FORMATS)
    megapixels = image.width * image.height / 1e6
    if megapixels > MAX_MEGAPIXELS:
        raise UnreadableImageError(f"too large: {megapixels:.0f} megapixels, the limit is {MAX_MEGAPIXELS}")
    if _is_camera_raw(image):
        raise UnreadableImageError("camera RAW, a format that Mint does not read; convert it to PNG or JPEG")
    image.draft(None, (DRAFT_MARGIN * resolution,) * 2)
    if image.width * image.height < LARGE_IMAGE:
        image.load()
        return image
    with _large_image_lock:
        image.load()
        factor = min(image.size) // (DRAFT_MARGIN * resolution)
        return image.reduce(factor) if factor > 1 and image.mode in REDUCIBLE else image


def _is_camera_raw(image: Image.Image) -> bool:
    """Return whether a TIFF is DNG, NEF, ARW or alike, of which Pillow would decode only the thumbnail."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    tags = image.tag_v2
    return DNG_VERSION in tags or (SUB_IFDS in tags and bool(tags.get(SUBFILE_TYPE, 0) & 1))


def _repair(content: bytes, resolution: int) -> Image.Image | None:
    """Decode a file whose pixels are complete and only other parts are missing or damaged; None for other files."""
    try:
        if content.startswith(JPEG_START):
            return _repair_jpeg(content.rstrip(b"\xff"), resolution)
        if content.startswith(PNG_START):
            return _load(_strip_png_metadata(content), resolution)
    except Exception:  # as in _decode
        return None
    return None


def _repair_jpeg(content: bytes, resolution: int) -> Image.Image | None:
    """Decode a JPEG without its end marker; None if pixels are missing as well.

    libjpeg fills in pixels that are missing before an end marker, so pixels are missing if filler bytes change them.
    The comparison needs a high resolution: strongly downscaled, a progressive file looks complete after a tenth.
    """
    image = _load(content + JPEG_END, COMPARISON_RESOLUTION)
    filled = _load(content + JPEG_FILLER + JPEG_END, COMPARISON_RESOLUTION)
    return _load(content + JPEG_END, resolution) if image.tobytes() == filled.tobytes() else None


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


def _refuse_tiny_and_elongated(image: Image.Image, resolution: int) -> None:
    """Raise UnreadableImageError for an image whose centre crop would be useless."""
    short, long = sorted(image.size)
    size = f"{image.width}x{image.height} pixels"
    if short * MAX_ENLARGED < resolution:
        raise UnreadableImageError(f"too small: {size}, the limit is {-(-resolution // MAX_ENLARGED)} a side")
    if long > MAX_ASPECT * short:
        raise UnreadableImageError(f"a strip of {size}, longer than {MAX_ASPECT} times its width; cut it into pictures")


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


def _centre_crop(image: Image.Image) -> Image.Image:
    """Crop the largest square around the centre."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image if image.width == image.height else image.crop((left, top, left + side, top + side))


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


def _flatten_alpha(image: Image.Image, background: str) -> Image.Image:
    """Composite a transparent image over the background colour."""
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    flat = Image.new("RGB", image.size, background)
    flat.paste(layer, mask=layer)
    return flat
