"""Images that come as arrays: IDX files (LeCun's MNIST format) and .npz -> items.

Large arrays are unpacked to the scratch folder and mapped, so memory does not grow with the number of images.
"""

import gzip
import re
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.manifest import DataError
from training.sources.items import Item, Pixels, Source

GREY_DIMENSIONS = 3  # [N,H,W]
IDX_IMAGES = re.compile(r"(?P<set>.*)images(?P<dash>[-.])idx3-ubyte(\.gz)?")
DAMAGED = (OSError, EOFError, zlib.error, zipfile.BadZipFile, ValueError, KeyError)

Array = NDArray[Any]


def array_items(images: Array, origin: str, prefix: str = "") -> list[Item]:
    """Items for images [N,H,W] or [N,H,W,C] uint8, named by their index. Raises DataError for anything else."""
    if images.dtype != np.uint8 or images.shape[3:] not in ((), (1,), (3,), (4,)) or images.ndim < GREY_DIMENSIONS:
        raise DataError(
            f"{origin}: images are {images.dtype} {list(images.shape)}; "
            "save them as uint8 [N,H,W] or [N,H,W,C] with C 1, 3 or 4"
        )
    return [Item(f"{prefix}{index:08d}", partial(_row, images, index)) for index in range(len(images))]


def labelled(items: list[Item], labels: Sequence[int] | Array, names: Sequence[str] | None, origin: str) -> Source:
    """Items with their labels [N]; names: class names by label, without which a class is named by its number.

    Raises DataError where the labels fit neither the items nor the names.
    """
    values = np.asarray(labels)
    if values.shape != (len(items),) or not np.issubdtype(values.dtype, np.integer):
        raise DataError(
            f"{origin}: labels are {values.dtype} {list(values.shape)}; "
            f"there must be one integer for each of the {len(items)} images"
        )
    if names is None:
        distinct, values = np.unique(values, return_inverse=True)
        names = [str(number) for number in distinct]
    if len(items) and not 0 <= values.min() <= values.max() < len(names):
        raise DataError(
            f"{origin}: labels run from {values.min()} to {values.max()}, there are {len(names)} class names"
        )
    return Source([replace(item, label=int(label)) for item, label in zip(items, values, strict=True)], list(names))


def _row(images: Array, index: int) -> Pixels:
    return np.ascontiguousarray(images[index])


def idx_files(folder: Path) -> list[re.Match[str]]:
    """The IDX image files right in a folder, sorted; of a set that is there packed and unpacked, the unpacked one."""
    found: dict[str, re.Match[str]] = {}
    for name in sorted((path.name for path in folder.iterdir()), reverse=True):
        if match := IDX_IMAGES.fullmatch(name):
            found[match["set"]] = match
    return [found[key] for key in sorted(found)]


def idx_source(folder: Path, scratch: Path) -> Source:
    """All IDX image files of a folder, labelled where every one has its labels file beside it.

    Class names come from classes.txt, one a line. Raises DataError for files that are damaged or do not fit.
    """
    items: list[Item] = []
    labels: list[Array] = []
    for match in idx_files(folder):
        path = folder / match.string
        items += array_items(read_idx(path, 3, scratch), str(path), f"{match.string}/")
        if beside := _labels_beside(folder, match):
            labels.append(read_idx(beside, 1, scratch))
    if len(labels) < len(idx_files(folder)):
        return Source(items)
    return labelled(items, np.concatenate(labels), read_class_names(folder / "classes.txt"), str(folder))


def _labels_beside(folder: Path, images: re.Match[str]) -> Path | None:
    name = f"{images['set']}labels{images['dash']}idx1-ubyte"
    return next((folder / n for n in (name, f"{name}.gz") if (folder / n).exists()), None)


def read_idx(path: Path, dimensions: int, scratch: Path) -> Array:
    """An IDX file of unsigned bytes with that many dimensions, mapped. Raises DataError where it is something else."""
    try:
        if path.suffix == ".gz":
            unpacked = scratch / path.stem
            with gzip.open(path) as packed, unpacked.open("wb") as file:
                shutil.copyfileobj(packed, file)
        else:
            unpacked = path
        header = np.fromfile(unpacked, dtype=">u4", count=1 + dimensions)
        if len(header) != 1 + dimensions or header[0] != 0x0800 + dimensions:
            raise ValueError("its header is not IDX")
        shape = tuple(int(size) for size in header[1:])
        if unpacked.stat().st_size != header.nbytes + np.prod(shape, dtype=np.int64):
            raise ValueError(f"its size does not fit its shape {shape}")
        return np.memmap(unpacked, dtype=np.uint8, mode="r", offset=header.nbytes, shape=shape)
    except DAMAGED as error:
        raise DataError(f"{path} is not an IDX file or is damaged: {error}; download it again") from None


def read_class_names(path: Path) -> list[str] | None:
    """Class names, one a line; None where there is no such file. Raises DataError for equal names."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    return distinct_names([line.strip() for line in lines if line.strip()], path)


def distinct_names(names: list[str], origin: Path) -> list[str]:
    """The names; raises DataError where two are equal: a request for a class by its name could mean either."""
    if len(set(names)) != len(names):
        raise DataError(f"{origin}: two classes have the same name; give each its own")
    return names


def npz_source(path: Path, scratch: Path) -> Source:
    """An .npz with `images`, and perhaps `labels` and `classes`. Raises DataError where they do not fit."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {Path(name).stem for name in archive.namelist()}
            if "images" not in members:
                raise DataError(f"{path} holds {', '.join(sorted(members))}; its images must be called `images`")
            arrays = {
                name: np.load(archive.extract(f"{name}.npy", scratch), mmap_mode="r", allow_pickle=False)
                for name in sorted({"images", "labels", "classes"} & members)
            }
    except DAMAGED as error:
        raise DataError(f"{path} is not an .npz file of plain arrays or is damaged: {error}") from None
    items = array_items(arrays["images"], str(path))
    if "labels" not in arrays:
        return Source(items)
    names = distinct_names([str(name) for name in arrays["classes"]], path) if "classes" in arrays else None
    return labelled(items, arrays["labels"], names, str(path))
