"""Arrays to files: png, jpeg, webp, npy, zip and the contact sheet. The same pixels give the same bytes."""

import io
import math
import zipfile
from collections import Counter
from collections.abc import Iterable
from typing import Literal

import numpy as np
from PIL import Image

from serving.generator import Images

ImageFormat = Literal["png", "jpeg", "webp"]

GAP = 2  # pixels between the images of a sheet
GAP_COLOUR = 255  # white
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can state

# JPEG without chroma subsampling, since small images are all edges; WebP without loss.
SAVE_OPTIONS: dict[str, dict[str, object]] = {
    "png": {},
    "jpeg": {"quality": 95, "subsampling": 0},
    "webp": {"lossless": True},
}


def encode(image: Images, format: ImageFormat) -> bytes:
    """One image uint8 [H, W, C] as a file; one channel stays grey where the format has grey."""
    pixels = image[:, :, 0] if image.shape[2] == 1 else image
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, format, **SAVE_OPTIONS[format])
    return file.getvalue()


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
    """Images uint8 [N, H, W, C] as a .npy file."""
    file = io.BytesIO()
    np.save(file, images, allow_pickle=False)
    return file.getvalue()


def to_zip(images: Images, names: Iterable[str]) -> bytes:
    """Images uint8 [N, H, W, C] as PNG files in a zip; names: N file names."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
        for image, name in zip(images, names, strict=True):
            entry = zipfile.ZipInfo(name, ZIP_EPOCH)
            entry.create_system = 3  # Unix, wherever it was written, so that the mode below counts
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, encode(image, "png"))
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
