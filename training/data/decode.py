"""One image file -> one square of pixels, the way a person sees the file: upright, whole range, first frame, sRGB."""

import io
from threading import Lock
from typing import NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from training.data.colour import to_srgb
from training.data.sources.base import HEAD_BYTES, Pixels, UnreadableImageError
from training.data.sources.file_types import FORMATS, why_unknown
from training.param_sections import DataParams

MAX_MEGAPIXELS = 250  # a few kilobytes can claim to be gigapixels and fill the memory when decoded
LARGE = 40e6  # pixels from which decoded images are in memory one at a time: 250 megapixels in RGB take a gigabyte
DRAFT_MARGIN = 3  # decoding may shrink by itself to this many times the resolution; the filter does the rest
MAX_ENLARGED = 8  # a picture with a shorter side than the resolution over this has nothing to learn from
MAX_ASPECT = 10  # of a longer strip, the centre square would show less than a tenth

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
# Pillow's limit of 1 MiB for compressed chunks also refuses the profiles of printers.
PngImagePlugin.MAX_TEXT_CHUNK = 16 << 20

JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
JPEG_FILLER = bytes(73 * i % 255 for i in range(4096))  # arbitrary, without a byte that could begin a marker
COMPARED = 1024  # resolution, in pixels; only what is several times larger is shrunk in decoding
PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_CHUNK_OVERHEAD = 12  # bytes of a chunk beside its content: length, type, checksum
REDUCIBLE = ("L", "LA", "RGB", "RGBA", "CMYK")

# TIFF tags
SUBFILE_TYPE, BITS_PER_SAMPLE, PHOTOMETRIC, SUB_IFDS, DNG_VERSION = 254, 258, 262, 330, 50706

_one_large_image = Lock()


class Square(NamedTuple):
    """A prepared image."""

    pixels: Pixels  # [R, R, C]
    enlarged: bool  # whether the picture was smaller than that


def load_square_image(content: bytes | Pixels, data: DataParams) -> Square:
    """The centre square of an image at the resolution and channels asked for, antialiased, in sRGB.

    content: an image file, or pixels [H, W] or [H, W, C] with C 1, 3 or 4. A smaller picture is enlarged, up to
    MAX_ENLARGED times. Raises UnreadableError with the reason.
    """
    image = _decode(content, data.resolution) if isinstance(content, bytes) else _from_pixels(content)
    _refuse_dots_and_strips(image, data.resolution)
    try:
        image = to_srgb(_centre(_upright(_eight_bits(image))))
        image = _opaque(image, data.background).convert("L" if data.channels == 1 else "RGB")
    except (OSError, ValueError) as error:
        raise UnreadableImageError(f"its colours cannot be converted: {error}") from None
    side = image.width
    if side != data.resolution:
        image = image.resize((data.resolution, data.resolution), Image.Resampling.LANCZOS)
    pixels = np.asarray(image, np.uint8).reshape(data.resolution, data.resolution, data.channels)
    return Square(pixels, enlarged=side < data.resolution)


def _decode(content: bytes, resolution: int) -> Image.Image:
    """The first frame of an image file. Raises UnreadableError for anything that is not one, whole and of sane size."""
    if not content:
        raise UnreadableImageError("empty file")
    try:
        return _load(content, resolution)
    except UnreadableImageError:
        raise
    except Exception as error:  # damaged bytes make Pillow's decoders raise nearly anything
        mended = _mended(content, resolution)
        if mended is not None:
            return mended
        # Pillow's own text for a file of no known format holds a memory address, another one at every run.
        unknown = isinstance(error, UnidentifiedImageError)
        reason = why_unknown(content[:HEAD_BYTES]) if unknown else f"damaged or truncated: {error}"
        raise UnreadableImageError(reason) from None


def _load(content: bytes, resolution: int) -> Image.Image:
    """The pixels of an image file, which Pillow may have shrunk towards the resolution."""
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    megapixels = image.width * image.height / 1e6
    if megapixels > MAX_MEGAPIXELS:
        raise UnreadableImageError(f"too large: {megapixels:.0f} megapixels, the limit is {MAX_MEGAPIXELS}")
    if _is_camera_raw(image):
        raise UnreadableImageError("camera RAW, a format that Mint does not read; convert it to PNG or JPEG")
    image.draft(None, (DRAFT_MARGIN * resolution,) * 2)
    if image.width * image.height < LARGE:
        image.load()
        return image
    with _one_large_image:
        image.load()
        factor = min(image.size) // (DRAFT_MARGIN * resolution)
        return image.reduce(factor) if factor > 1 and image.mode in REDUCIBLE else image


def _is_camera_raw(image: Image.Image) -> bool:
    """Whether a TIFF is DNG, NEF, ARW or alike: its first image is then a thumbnail, and Pillow would take that."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    tags = image.tag_v2
    return DNG_VERSION in tags or (SUB_IFDS in tags and bool(tags.get(SUBFILE_TYPE, 0) & 1))


def _mended(content: bytes, resolution: int) -> Image.Image | None:
    """The image where all of its pixels are there and only something beside them is missing or damaged; else None."""
    try:
        if content.startswith(JPEG_START):
            return _jpeg_without_end(content.rstrip(b"\xff"), resolution)
        if content.startswith(PNG_START):
            return _load(_png_without_notes(content), resolution)
    except Exception:  # as above
        return None
    return None


def _jpeg_without_end(content: bytes, resolution: int) -> Image.Image | None:
    """A JPEG that lacks its end mark; None for one that lacks pixels.

    libjpeg makes up what is missing before an end mark. Missing pixels are those that filler would change. They are
    compared large: shrunk by much, a progressive file looks whole after its first tenth.
    """
    image = _load(content + JPEG_END, COMPARED)
    filled = _load(content + JPEG_FILLER + JPEG_END, COMPARED)
    return _load(content + JPEG_END, resolution) if image.tobytes() == filled.tobytes() else None


def _png_without_notes(content: bytes) -> bytes:
    """The PNG without texts, profiles and other chunks that pixels do not need: one may be damaged or too long."""
    kept, at = [PNG_START], len(PNG_START)
    while at < len(content):
        end = at + PNG_CHUNK_OVERHEAD + int.from_bytes(content[at : at + 4], "big")
        kind = content[at + 4 : at + 8]
        if kind[:1].isupper() or kind == b"tRNS":  # upper case: critical (PNG specification, section 5.4)
            kept.append(content[at:end])
        at = end
    return b"".join(kept)


def _refuse_dots_and_strips(image: Image.Image, resolution: int) -> None:
    """Raises UnreadableError for a picture whose centre square has nothing of use in it."""
    short, long = sorted(image.size)
    size = f"{image.width}x{image.height} pixels"
    if short * MAX_ENLARGED < resolution:
        raise UnreadableImageError(f"too small: {size}, the limit is {-(-resolution // MAX_ENLARGED)} a side")
    if long > MAX_ASPECT * short:
        raise UnreadableImageError(f"a strip of {size}, longer than {MAX_ASPECT} times its width; cut it into pictures")


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
    """Grey of 9 to 16 bits scaled to 8, which Pillow itself would clip. Raises UnreadableError for 32 bits a channel.

    Comes before anything that makes a new image, because that knows no format any more.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        largest, inverted = 65535, False
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            largest = 2 ** int(image.tag_v2.get(BITS_PER_SAMPLE, (16,))[0]) - 1
            inverted = image.tag_v2.get(PHOTOMETRIC) == 0  # white is 0; Pillow inverts no more than 8 bits
        scaled = np.rint(np.arange(largest + 1) * (255 / largest)).astype(np.uint8)
        eight = Image.fromarray((scaled[::-1] if inverted else scaled).take(np.asarray(image), mode="clip"))
        eight.info = {key: value for key, value in image.info.items() if key != "transparency"}  # of 16 bits, too
        return eight
    if image.mode in ("I", "F"):
        raise UnreadableImageError("32 bits a channel, or negative values; save it with 8 or 16 bits")
    return image


def _opaque(image: Image.Image, background: str) -> Image.Image:
    """Laid on the background colour, where any part of it is transparent."""
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    flat = Image.new("RGB", image.size, background)
    flat.paste(layer, mask=layer)
    return flat
