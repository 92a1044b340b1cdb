"""Files of several images: animations, strips, NumPy arrays and zip archives. Equal pixels give equal bytes."""

import io
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np

from serving.encoding.images import SAVE_OPTIONS, contact_sheet, encode, to_pillow
from serving.encoding.transparency import WHITE, composite
from serving.inference.latents import Images

AnimatedImageFormat = Literal["gif", "webp"]

ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold


def to_animation(images: Images, format: AnimatedImageFormat, fps: float, background: str = WHITE) -> bytes:
    """Images uint8 [N, H, W, C] as the frames of an endless animation. GIF rounds frame times to 10 ms.

    background: colour `#rrggbb` behind transparent pixels of a GIF, whose pixels are either opaque or invisible: with
    soft edges cut off, sprites would look frayed.
    """
    if format == "gif":
        images = composite(images, background)
    frames = [to_pillow(image) for image in images]
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


def to_npy(images: Images) -> bytes:
    """Images uint8 [N, H, W, C] as a .npy file, byte for byte as numpy.save writes it, with two fewer copies."""
    return _npy_header(images.shape) + images.tobytes()


@lru_cache(maxsize=256)  # a service has few image sizes, in batches up to its limit
def _npy_header(shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return header.getvalue()


def to_zip(images: Images, names: Iterable[str], texts: Sequence[Mapping[str, str]]) -> bytes:
    """Images uint8 [N, H, W, C] as PNG files in a zip; names: N file names; texts: the text chunks of each PNG."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
        for image, name, text in zip(images, names, texts, strict=True):
            entry = zipfile.ZipInfo(name, ZIP_EPOCH)
            entry.create_system = 3  # Unix on every platform, so that the mode below applies
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
