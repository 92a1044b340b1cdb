"""Image files: PNG, JPEG and WebP, resizing, contact sheets, PNG metadata. Equal pixels and text give equal bytes.

PNG is written here and not by Pillow: for the small images of a GAN Pillow spends most of its time on finding and
setting up the encoder, and for larger ones on choosing a filter for each row. Here every row has the filter Up, the
difference to the row above: at 28 to 128 pixels this takes half of Pillow's time, for files 4 to 12% larger.
"""

import base64
import io
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from PIL import Image

from serving.encoding.transparency import WHITE, composite
from serving.errors import InputError
from serving.inference.image_shape import RGBA, Resolution
from serving.inference.latents import Images, Latents

ImageFormat = Literal["png", "jpeg", "webp"]
IMAGE_FORMATS: tuple[ImageFormat, ...] = get_args(ImageFormat)  # each is in the tables below and in http/schemas.py

MAX_SIDE = {"jpeg": 65_500, "webp": 16_383}  # of libjpeg (JPEG_MAX_DIMENSION) and of WebP's header

GAP = 2  # pixels between the images of a contact sheet
GAP_COLOUR = 255  # white; transparent between images with alpha

# JPEG without chroma subsampling, since small images are all edges; lossless WebP.
SAVE_OPTIONS: dict[str, dict[str, object]] = {
    "jpeg": {"quality": 95, "subsampling": 0},
    "webp": {"lossless": True},
}

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # by channels: grey, RGB, RGBA
PNG_FILTER_UP = 2
ZLIB_LEVEL = 6

# On one core of a slow server, for images that compress badly: an estimate that is too high refuses requests a little
# early, one that is too low delays the requests behind.
SECONDS_PER_MEGAPIXEL = {  # of three channels
    "npy": 0.005,
    "jpeg": 0.02,
    "png": 0.1,
    "zip": 0.15,
    "json": 0.2,
    "gif": 0.25,
    "webp": 1.0,  # lossless
}
SECONDS_PER_IMAGE = 0.0002


def encoding_seconds(images: int, resolution: Resolution, channels: int, format: str) -> float:
    """Estimated seconds of one core to resize and encode images [images, *resolution, channels].

    Used for admission control and to choose the encoding thread.
    """
    megapixels = images * resolution.pixels * channels / 3e6
    return images * SECONDS_PER_IMAGE + megapixels * SECONDS_PER_MEGAPIXEL[format]


def encode(image: Images, format: ImageFormat, text: Mapping[str, str] | None = None, background: str = WHITE) -> bytes:
    """Encode one image uint8 [H, W, C]; one channel stays grey if the format supports it.

    text: PNG text chunks, one for each entry; ignored for the other formats. background: colour `#rrggbb` behind
    transparent pixels of a JPEG, which has no alpha. Raises InputError for an image, such as a large contact sheet,
    that exceeds the format's size limit.
    """
    if format == "png":
        return _encode_png(image, text or {})
    longest = max(image.shape[:2])
    if longest > MAX_SIDE[format]:
        raise InputError(
            f"{format} has at most {MAX_SIDE[format]} pixels a side and this is {longest}; ask for png or fewer images",
            "format",
        )
    if format == "jpeg":
        image = composite(image, background)
    file = io.BytesIO()
    to_pillow(image).save(file, format, **SAVE_OPTIONS[format])
    return file.getvalue()


def resize(images: Images, size: int) -> Images:
    """Resize images uint8 [N, H, W, C] so that their longer side has `size` pixels.

    A multiple of the longer side repeats every pixel, which keeps pixel art crisp; any other size is resampled with a
    Lanczos filter, colours weighted by alpha.
    """
    resolution = Resolution(*images.shape[1:3])
    factor, remainder = divmod(size, max(resolution))
    if remainder == 0:
        return images.repeat(factor, axis=1).repeat(factor, axis=2)
    height, width = resolution.scaled_to(size)
    resized = [to_pillow(image).resize((width, height), Image.Resampling.LANCZOS) for image in images]
    return np.stack([np.asarray(image) for image in resized]).reshape(len(images), height, width, images.shape[3])


def contact_sheet(images: Images, columns: int | None = None) -> Images:
    """Arrange images uint8 [N, H, W, C] in a grid, row by row, as one uint8 [H', W', C].

    columns: None makes the grid as near to square as N allows. N must be at least 1.
    """
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    size = (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels)
    sheet = np.full(size, 0 if channels == RGBA else GAP_COLOUR, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = image
    return sheet


def png_metadata(
    model_id: str, truncation: float, seed: int | None, class_name: str | None, latent: Latents | None = None
) -> dict[str, str]:
    """PNG text chunks from which the image can be generated again.

    class_name: None without classes. latent: float32 [latent_dim] before truncation, for an image without a seed; it is
    written in base64, little-endian.
    """
    text = {"Software": "Mint", "model": model_id, "truncation": str(truncation)}
    if seed is not None:
        text["seed"] = str(seed)
    elif latent is not None:
        text["latent"] = base64.b64encode(latent.astype("<f4").tobytes()).decode()
    if class_name is not None:
        text["label"] = class_name
    return text


def contact_sheet_metadata(
    model_id: str, truncation: float, seeds: Sequence[int] | None, labels: Sequence[int] | None
) -> dict[str, str]:
    """PNG text chunks of a contact sheet: seeds and class indices in the order of its images."""
    text = {"Software": "Mint", "model": model_id, "truncation": str(truncation)}
    if seeds is not None:
        text["seeds"] = ",".join(map(str, seeds))
    if labels is not None:
        text["labels"] = ",".join(map(str, labels))
    return text


def to_pillow(image: Images) -> Image.Image:
    """One image uint8 [H, W, C], C 1, 3 or 4, as a Pillow image."""
    return Image.fromarray(np.ascontiguousarray(image[:, :, 0] if image.shape[2] == 1 else image))


def _encode_png(image: Images, text: Mapping[str, str]) -> bytes:
    """One image uint8 [H, W, C], C 1, 3 or 4, as a PNG file (RFC 2083); the keys of `text` are ASCII."""
    height, width, channels = image.shape
    pixels = image.reshape(height, width * channels)
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = PNG_FILTER_UP
    rows[0, 1:] = pixels[0]
    np.subtract(pixels[1:], pixels[:-1], out=rows[1:, 1:])  # modulo 256
    header = struct.pack(">IIBBBBB", width, height, 8, PNG_COLOUR_TYPES[channels], 0, 0, 0)
    chunks = [_png_chunk(b"IHDR", header)]
    chunks += [_png_text_chunk(key, value) for key, value in text.items()]
    chunks += [_png_chunk(b"IDAT", zlib.compress(rows.data, ZLIB_LEVEL)), _png_chunk(b"IEND", b"")]
    return PNG_SIGNATURE + b"".join(chunks)


def _png_text_chunk(key: str, value: str) -> bytes:
    """A tEXt chunk, or an iTXt chunk for text outside Latin-1 (PNG 1.2, sections 4.2.3.1 and 4.2.3.3)."""
    try:
        return _png_chunk(b"tEXt", key.encode("ascii") + b"\0" + value.encode("latin-1"))
    except UnicodeEncodeError:
        return _png_chunk(b"iTXt", key.encode("ascii") + b"\0\0\0\0\0" + value.encode())


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    """Length, type, content and CRC."""
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
