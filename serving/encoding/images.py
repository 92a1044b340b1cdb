"""Arrays to files: png, jpeg, webp, npy, zip, contact sheets, films. The same pixels and text give the same bytes."""

import io
import math
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image

from serving.encoding.png import to_png
from serving.errors import InputError
from serving.inference.executor import Images

ImageFormat = Literal["png", "jpeg", "webp"]
FilmFormat = Literal["gif", "webp"]

MAX_SIDE = {"jpeg": 65_500, "webp": 16_383}  # of libjpeg (JPEG_MAX_DIMENSION) and of WebP's header

GAP = 2  # pixels between the images of a sheet
GAP_COLOUR = 255  # white
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can state

# JPEG without chroma subsampling, since small images are all edges; WebP without loss.
SAVE_OPTIONS: dict[str, dict[str, object]] = {
    "jpeg": {"quality": 95, "subsampling": 0},
    "webp": {"lossless": True},
}


def encode(image: Images, format: ImageFormat, text: Mapping[str, str] | None = None) -> bytes:
    """One image uint8 [H, W, C] as a file; one channel stays grey where the format has grey.

    text: what a PNG says about itself, one tEXt chunk for each entry; the other formats have no place for it. Raises
    InputError for an image, such as a sheet of many, that is larger than the format can say.
    """
    if format == "png":
        return to_png(image, text)
    longest = max(image.shape[:2])
    if longest > MAX_SIDE[format]:
        raise InputError(
            f"{format} has at most {MAX_SIDE[format]} pixels a side and this is {longest}; ask for png or fewer images",
            "format",
        )
    file = io.BytesIO()
    _picture(image).save(file, format, **SAVE_OPTIONS[format])
    return file.getvalue()


def scaled(images: Images, size: int) -> Images:
    """Images uint8 [N, H, H, C] as [N, size, size, C].

    A multiple of H repeats every pixel, so that pixel art stays what it is; any other size is resampled with
    Lanczos' filter.
    """
    count, side, _, channels = images.shape
    if size % side == 0:
        return images.repeat(size // side, axis=1).repeat(size // side, axis=2)
    resized = [_picture(image).resize((size, size), Image.Resampling.LANCZOS) for image in images]
    return np.stack([np.asarray(picture) for picture in resized]).reshape(count, size, size, channels)


def animation(images: Images, format: FilmFormat, fps: float) -> bytes:
    """Images uint8 [N, H, W, C] one after another, for ever. GIF rounds a frame's time to 10 ms."""
    frames = [_picture(image) for image in images]
    file = io.BytesIO()
    frames[0].save(
        file,
        format,
        save_all=True,
        append_images=frames[1:],
        duration=round(1000 / fps),
        loop=0,
        **SAVE_OPTIONS.get(format, {}),
    )
    return file.getvalue()


def strip(images: Images) -> Images:
    """Images uint8 [N, H, W, C] in one row, as one uint8 [H, W', C]."""
    return contact_sheet(images, columns=len(images))


def contact_sheet(images: Images, columns: int | None = None) -> Images:
    """Images uint8 [N, H, W, C] side by side, row after row, as one uint8 [H', W', C].

    columns: None makes the grid as near to square as N allows. N must be at least 1.
    """
    count, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    size = (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels)
    sheet = np.full(size, GAP_COLOUR, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = image
    return sheet


def to_npy(images: Images) -> bytes:
    """Images uint8 [N, H, W, C] as a .npy file, as numpy.save writes it; that takes two copies more."""
    return _npy_header(images.shape) + images.tobytes()


@lru_cache(maxsize=256)  # a service makes a few sizes, and batches up to its limit
def _npy_header(shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()


def to_zip(images: Images, names: Iterable[str], texts: Sequence[Mapping[str, str]]) -> bytes:
    """Images uint8 [N, H, W, C] as PNG files in a zip; names: N file names; texts: what each PNG says about itself."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
        for image, name, text in zip(images, names, texts, strict=True):
            entry = zipfile.ZipInfo(name, ZIP_EPOCH)
            entry.create_system = 3  # Unix, wherever it was written, so that the mode below counts
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, encode(image, "png", text))
    return file.getvalue()


def file_names(seeds: Iterable[int] | None, count: int, extension: str) -> list[str]:
    """A file name for each image: `seed-7.png`, a second of that seed `seed-7-2.png`, without seeds `latent-0.png`."""
    if seeds is None:
        return [f"latent-{index}.{extension}" for index in range(count)]
    seen: Counter[int] = Counter()
    names = []
    for seed in seeds:
        seen[seed] += 1
        names.append(f"seed-{seed}.{extension}" if seen[seed] == 1 else f"seed-{seed}-{seen[seed]}.{extension}")
    return names


def _picture(image: Images) -> Image.Image:
    """One image uint8 [H, W, C], C 1 or 3, as Pillow has it."""
    return Image.fromarray(np.ascontiguousarray(image[:, :, 0] if image.shape[2] == 1 else image))
