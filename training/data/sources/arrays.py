"""Images that come as arrays: IDX files (LeCun's MNIST format) and .npz -> items.

Large arrays are unpacked to the scratch folder and mapped, so memory does not grow with the number of images. Their
headers say how large they are: more than that is never unpacked.
"""

import io
import math
import pickletools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.manifest import DataError
from training.data.sources.base import Item, Pixels, Source
from training.data.sources.class_folders import in_class_order
from training.data.sources.decompression import GZIP, STEP, Budget, DamagedArchiveError, inflated
from training.data.sources.filenames import utf8_name
from training.data.sources.zips import ZipArchive, ZipMember

GREY_DIMENSIONS = 3  # [N,H,W]
IDX_IMAGES = re.compile(r"(?P<set>.*)images(?P<dash>[-.])idx3-ubyte(\.gz)?")
MAX_PICKLED = 1 << 20  # bytes of class names that are Python's strings
NPY_HEADER = 1 << 16  # bytes in which the header of an .npy file lies; numpy itself reads no longer one

LONGEST = 255  # characters of a name; NumPy makes every string of an array as long as the longest one
STRINGS = {"SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES"}  # what pickle writes strings as
BETWEEN = {"MARK", "MEMOIZE", "BINPUT", "LONG_BINPUT", "FRAME", "APPEND", "APPENDS"}  # what stands between them

Array = NDArray[Any]


def array_items(images: Array, origin: str, prefix: str = "") -> list[Item]:
    """Items for images [N,H,W] or [N,H,W,C] uint8, named by their index. Raises DataError for anything else."""
    if images.dtype != np.uint8 or images.shape[3:] not in ((), (1,), (3,), (4,)) or images.ndim < GREY_DIMENSIONS:
        raise DataError(
            f"{origin}: images are {images.dtype} {list(images.shape)}; "
            "save them as uint8 [N,H,W] or [N,H,W,C] with C 1, 3 or 4"
        )
    if 0 in images.shape[1:]:
        raise DataError(f"{origin}: images are {list(images.shape)}, which have no pixels; save them again")
    return [Item(f"{prefix}{index:08d}", partial(_row, images, index)) for index in range(len(images))]


def labelled(items: list[Item], labels: Sequence[int] | Array, names: list[str] | None, origin: str) -> Source:
    """Items with their labels [N], which are numbers or class names.

    names: class names by label, without which a class is named by its number.

    Raises DataError where the labels fit neither the items nor the names.
    """
    values = np.asarray(labels)
    if values.dtype.kind == "U" and values.shape == (len(items),):
        values, names = labels_from_names(values, names, origin)
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
    matches = idx_files(folder)
    budget = Budget(folder, sum((folder / match.string).stat().st_size for match in matches), scratch)
    for match in matches:
        path = folder / match.string
        items += array_items(read_idx(path, 3, scratch, budget), str(path), f"{match.string}/")
        if beside := _labels_beside(folder, match):
            labels.append(read_idx(beside, 1, scratch, budget))
    if len(labels) < len(matches):
        return Source(items)
    return labelled(items, np.concatenate(labels), read_class_names(folder / "classes.txt"), str(folder))


def _labels_beside(folder: Path, images: re.Match[str]) -> Path | None:
    name = f"{images['set']}labels{images['dash']}idx1-ubyte"
    return next((folder / n for n in (name, f"{name}.gz") if (folder / n).exists()), None)


def read_idx(path: Path, dimensions: int, scratch: Path, budget: Budget) -> Array:
    """An IDX file of unsigned bytes with that many dimensions, mapped. Raises DataError where it is something else."""
    header_bytes = 4 * (1 + dimensions)
    with path.open("rb") as file:
        chunks = iter(lambda: file.read(STEP), b"")
        try:
            if path.suffix == ".gz":
                chunks = inflated(chunks, GZIP, several=True)
            first = next(chunks, b"")
            header = np.frombuffer(first[:header_bytes].ljust(header_bytes, b"\0"), ">u4")
            if header[0] != 0x0800 + dimensions:
                raise DamagedArchiveError("its header is not IDX")
            shape = tuple(int(size) for size in header[1:])
            size = header_bytes + math.prod(shape)
            if path.suffix != ".gz":
                if path.stat().st_size != size:
                    raise DamagedArchiveError(f"its size does not fit its shape {shape}")
                unpacked = path
            else:
                unpacked = scratch / path.stem
                budget.inflate(size)
                _write(unpacked, first, chunks, size, budget)
        except DamagedArchiveError as error:
            raise DataError(f"{path} is not an IDX file or is damaged: {error}; download it again") from None
    return np.memmap(unpacked, dtype=np.uint8, mode="r", offset=header_bytes, shape=shape)


def _write(target: Path, first: bytes, chunks: Iterator[bytes], size: int, budget: Budget) -> None:
    """Writes an array of `size` bytes from its first chunk and the others. Raises DamagedError for any other size."""
    budget.store(size)  # before anything is written
    written = 0
    with target.open("wb") as file:
        while first:
            written += len(first)
            if written > size:
                break
            file.write(first)
            first = next(chunks, b"")
    if written != size:
        raise DamagedArchiveError("its size does not fit its shape")


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


def npz_source(archive: ZipArchive, scratch: Path, budget: Budget) -> Source:
    """An .npz with `images`, and perhaps `labels` and `classes`. Raises DataError where they do not fit."""
    path = archive.path
    members = {member.name.removesuffix(".npy"): member for member in archive.members}
    if "images" not in members:
        raise DataError(f"{path} holds {', '.join(sorted(members)) or 'nothing'}; its images must be called `images`")
    try:
        arrays = {
            name: _npy_member(archive, members[name], scratch / f"{name}.npy", budget)
            for name in ("images", "labels", "classes")
            if name in members
        }
    except DamagedArchiveError as error:
        raise DataError(f"{path} is not an .npz file of plain arrays or is damaged: {error}") from None
    items = array_items(arrays["images"], str(path))
    if "labels" not in arrays:
        return Source(items)
    names = distinct_names(_texts(arrays["classes"], path), path) if "classes" in arrays else None
    labels = arrays["labels"]
    if labels.dtype.kind in "US" and labels.ndim == 1:
        labels = np.array(_texts(labels, path))
    return labelled(items, labels, names, str(path))


def _texts(names: Array, origin: Path) -> list[str]:
    """Names as text, also where they were given as bytes. Raises DataError for anything but a list of names."""
    if names.ndim != 1 or names.dtype.kind not in "USiu":
        raise DataError(f"{origin}: classes are {names.dtype} {list(names.shape)}; save them as a list of names")
    texts = [
        utf8_name(name, origin, "save classes as text") if isinstance(name, bytes) else str(name)
        for name in names.tolist()
    ]
    return [unicodedata.normalize("NFC", text.strip()) for text in texts]


def _npy_member(archive: ZipArchive, member: ZipMember, target: Path, budget: Budget) -> Array:
    """One array of an .npz, unpacked to `target` and mapped. Raises DamagedError where it is no plain array.

    A short one may also hold Python's strings.
    """
    if member.info.file_size <= MAX_PICKLED:
        names = pickled_names(b"".join(archive.chunks(member)))
        if names is not None:
            return names
    chunks = archive.chunks(member)
    first = next(chunks, b"")
    shape, fortran, dtype, offset = npy_header(first[:NPY_HEADER])
    size = offset + math.prod(shape) * dtype.itemsize
    if size != member.info.file_size:
        raise DamagedArchiveError(f"{member.name} has the shape {shape} and another size")
    _write(target, first, chunks, size, budget)
    return np.memmap(target, dtype, "r", offset, shape, "F" if fortran else "C")


def npy_header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether in Fortran's order, type and length in bytes of the header that an .npy file starts with.

    Raises DamagedError for a header that is none, for Python objects, and for a shape that no array has.
    """
    stream = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except Exception:  # numpy parses it as Python, which can fail in many ways
        raise DamagedArchiveError("its header is not one of an .npy file") from None
    if dtype.hasobject:
        raise DamagedArchiveError("it holds Python objects")
    if dtype.itemsize == 0 or any(type(size) is not int or size < 0 for size in shape):
        raise DamagedArchiveError(f"its header says {dtype} {shape}")
    return shape, fortran, dtype, stream.tell()


def pickled_names(npy: bytes) -> NDArray[Any] | None:
    """The strings of an .npy file that holds them as Python objects; None for any other file.

    Only reads what the pickle says: unpickling would run it.
    """
    stream = io.BytesIO(npy)
    try:
        np.lib.format.read_magic(stream)
        _, _, dtype = np.lib.format.read_array_header_1_0(stream)
        operations = [(operation.name, argument) for operation, argument, _ in pickletools.genops(stream.read())]
    except Exception:  # a damaged header is parsed as Python, and a damaged pickle can fail in many ways
        return None
    names = [name for name, _ in operations]
    if not dtype.hasobject or "EMPTY_LIST" not in names:
        return None
    begin = names.index("EMPTY_LIST") + 1  # of the list of the array's values
    listed = operations[begin : names.index("TUPLE", begin)] if "TUPLE" in names[begin:] else []
    strings: list[str | bytes] = [argument for name, argument in listed if name in STRINGS]  # type: ignore[misc]
    others = {name for name, _ in listed} - STRINGS - BETWEEN
    if others or len({type(string) for string in strings}) != 1 or max(map(len, strings)) > LONGEST:
        return None
    return np.array(strings)


def labels_from_names(
    labels: NDArray[Any], names: list[str] | None, origin: str
) -> tuple[NDArray[np.int64], list[str]]:
    """Labels [N] that are class names, as indices into the names; without names, into those that occur.

    Raises DataError for a label that the names lack.
    """
    known = names if names is not None else in_class_order(set(labels.tolist()))
    if unknown := sorted(set(labels.tolist()) - set(known)):
        raise DataError(f"{origin}: the label {unknown[0]!r} is not among the class names; add it to them")
    index = {name: label for label, name in enumerate(known)}
    return np.array([index[name] for name in labels.tolist()], np.int64), known
