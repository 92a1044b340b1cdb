"""Array sources: IDX files (LeCun's MNIST format) and .npz files.

Packed arrays are unpacked to the scratch folder, never beyond the size in their headers, and memory-mapped, so that
memory use does not grow with the number of images.
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
from training.data.sources.class_folders import sort_classes
from training.data.sources.decompression import CHUNK_BYTES, GZIP, DamagedArchiveError, UnpackQuota, decompress
from training.data.sources.filenames import decode_filename
from training.data.sources.zips import ZipArchive, ZipMember

GREY_NDIM = 3  # [N,H,W]
IDX_IMAGES = re.compile(r"(?P<set>.*)images(?P<dash>[-.])idx3-ubyte(\.gz)?")
MAX_PICKLED = 1 << 20  # bytes of a pickled array of class names
NPY_HEADER = 1 << 16  # bytes; numpy does not read a longer header

MAX_CLASS_NAME = 255  # characters of a class name; NumPy pads every string to the longest one
PICKLE_STRINGS = {"SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES"}  # opcodes of strings
PICKLE_STRUCTURE = {"MARK", "MEMOIZE", "BINPUT", "LONG_BINPUT", "FRAME", "APPEND", "APPENDS"}  # opcodes between them

Array = NDArray[Any]


def array_items(images: Array, name: str, prefix: str = "") -> list[Item]:
    """Make items of images uint8 [N,H,W] or [N,H,W,C], named by their index. Raises DataError for anything else.

    name: of the source, for error messages.
    """
    if images.dtype != np.uint8 or images.shape[3:] not in ((), (1,), (3,), (4,)) or images.ndim < GREY_NDIM:
        raise DataError(
            f"{name}: images are {images.dtype} {list(images.shape)}; "
            "save them as uint8 [N,H,W] or [N,H,W,C] with C 1, 3 or 4"
        )
    if 0 in images.shape[1:]:
        raise DataError(f"{name}: images are {list(images.shape)}, which have no pixels; save them again")
    return [Item(f"{prefix}{index:08d}", partial(_row, images, index)) for index in range(len(images))]


def with_labels(items: list[Item], labels: Sequence[int] | Array, classes: list[str] | None, name: str) -> Source:
    """Label items with labels [N], which are integers or class names.

    classes: class names by label; by default a class is named by its number. name: of the source, for error messages.
    Raises DataError when labels, items and classes do not fit together.
    """
    values = np.asarray(labels)
    if values.dtype.kind == "U" and values.shape == (len(items),):
        values, classes = class_indices(values, classes, name)
    if values.shape != (len(items),) or not np.issubdtype(values.dtype, np.integer):
        raise DataError(
            f"{name}: labels are {values.dtype} {list(values.shape)}; "
            f"there must be one integer for each of the {len(items)} images"
        )
    if classes is None:
        distinct, values = np.unique(values, return_inverse=True)
        classes = [str(number) for number in distinct]
    if len(items) and not 0 <= values.min() <= values.max() < len(classes):
        raise DataError(
            f"{name}: labels run from {values.min()} to {values.max()}, there are {len(classes)} class names"
        )
    return Source([replace(item, label=int(label)) for item, label in zip(items, values, strict=True)], list(classes))


def _row(images: Array, index: int) -> Pixels:
    return np.ascontiguousarray(images[index])


def find_idx_files(folder: Path) -> list[re.Match[str]]:
    """Find the IDX image files in a folder, sorted; of a packed and an unpacked copy, the unpacked one."""
    found: dict[str, re.Match[str]] = {}
    for name in sorted((path.name for path in folder.iterdir()), reverse=True):
        if match := IDX_IMAGES.fullmatch(name):
            found[match["set"]] = match
    return [found[key] for key in sorted(found)]


def idx_source(folder: Path, scratch: Path) -> Source:
    """Open all IDX image files of a folder, labelled if each has its labels file.

    Class names come from classes.txt, one per line. Raises DataError for files that are damaged or do not fit.
    """
    items: list[Item] = []
    labels: list[Array] = []
    matches = find_idx_files(folder)
    quota = UnpackQuota(folder, sum((folder / match.string).stat().st_size for match in matches), scratch)
    for match in matches:
        path = folder / match.string
        items += array_items(read_idx(path, 3, scratch, quota), str(path), f"{match.string}/")
        if labels_file := _labels_file(folder, match):
            labels.append(read_idx(labels_file, 1, scratch, quota))
    if len(labels) < len(matches):
        return Source(items)
    return with_labels(items, np.concatenate(labels), read_class_names(folder / "classes.txt"), str(folder))


def _labels_file(folder: Path, images: re.Match[str]) -> Path | None:
    name = f"{images['set']}labels{images['dash']}idx1-ubyte"
    return next((folder / n for n in (name, f"{name}.gz") if (folder / n).exists()), None)


def read_idx(path: Path, dimensions: int, scratch: Path, quota: UnpackQuota) -> Array:
    """Memory-map an IDX file of unsigned bytes with `dimensions` axes. Raises DataError for any other file."""
    header_bytes = 4 * (1 + dimensions)
    with path.open("rb") as file:
        chunks = iter(lambda: file.read(CHUNK_BYTES), b"")
        try:
            if path.suffix == ".gz":
                chunks = decompress(chunks, GZIP, concatenated=True)
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
                quota.spend_total(size)
                _write_array(unpacked, first, chunks, size, quota)
        except DamagedArchiveError as error:
            raise DataError(f"{path} is not an IDX file or is damaged: {error}; download it again") from None
    return np.memmap(unpacked, dtype=np.uint8, mode="r", offset=header_bytes, shape=shape)


def _write_array(target: Path, first: bytes, chunks: Iterator[bytes], size: int, quota: UnpackQuota) -> None:
    """Write chunks that must add up to `size` bytes. Raises DamagedArchiveError for any other size."""
    quota.spend_disk(size)  # before anything is written
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
    """Read class names, one per line; None if there is no such file. Raises DataError for duplicates."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    return check_distinct([line.strip() for line in lines if line.strip()], path)


def check_distinct(names: list[str], path: Path) -> list[str]:
    """Return the names. Raises DataError for duplicates, which requests by class name could not tell apart."""
    if len(set(names)) != len(names):
        raise DataError(f"{path}: two classes have the same name; give each its own")
    return names


def npz_source(archive: ZipArchive, scratch: Path, quota: UnpackQuota) -> Source:
    """Open an .npz with `images` and optional `labels` and `classes`. Raises DataError when they do not fit."""
    path = archive.path
    members = {member.name.removesuffix(".npy"): member for member in archive.members}
    if "images" not in members:
        raise DataError(f"{path} holds {', '.join(sorted(members)) or 'nothing'}; its images must be called `images`")
    try:
        arrays = {
            name: _map_npy_member(archive, members[name], scratch / f"{name}.npy", quota)
            for name in ("images", "labels", "classes")
            if name in members
        }
    except DamagedArchiveError as error:
        raise DataError(f"{path} is not an .npz file of plain arrays or is damaged: {error}") from None
    items = array_items(arrays["images"], str(path))
    if "labels" not in arrays:
        return Source(items)
    names = check_distinct(_decode_names(arrays["classes"], path), path) if "classes" in arrays else None
    labels = arrays["labels"]
    if labels.dtype.kind in "US" and labels.ndim == 1:
        labels = np.array(_decode_names(labels, path))
    return with_labels(items, labels, names, str(path))


def _decode_names(names: Array, path: Path) -> list[str]:
    """Decode an array of names, text or bytes, to NFC. Raises DataError for anything but a list of names."""
    if names.ndim != 1 or names.dtype.kind not in "USiu":
        raise DataError(f"{path}: classes are {names.dtype} {list(names.shape)}; save them as a list of names")
    texts = [
        decode_filename(name, path, "save classes as text") if isinstance(name, bytes) else str(name)
        for name in names.tolist()
    ]
    return [unicodedata.normalize("NFC", text.strip()) for text in texts]


def _map_npy_member(archive: ZipArchive, member: ZipMember, target: Path, quota: UnpackQuota) -> Array:
    """Unpack one array of an .npz to `target` and memory-map it; a short one may be pickled strings.

    Raises DamagedArchiveError when it is not a plain array.
    """
    if member.info.file_size <= MAX_PICKLED:
        names = read_pickled_strings(b"".join(archive.chunks(member)))
        if names is not None:
            return names
    chunks = archive.chunks(member)
    first = next(chunks, b"")
    shape, fortran, dtype, offset = read_npy_header(first[:NPY_HEADER])
    size = offset + math.prod(shape) * dtype.itemsize
    if size != member.info.file_size:
        raise DamagedArchiveError(f"{member.name} has the shape {shape} and another size")
    _write_array(target, first, chunks, size, quota)
    return np.memmap(target, dtype, "r", offset, shape, "F" if fortran else "C")


def read_npy_header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Parse the header of an .npy file: shape, whether in Fortran order, dtype and header length in bytes.

    Raises DamagedArchiveError for an invalid header, Python objects and impossible shapes.
    """
    stream = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except Exception:  # numpy parses the header as Python, which can fail in many ways
        raise DamagedArchiveError("its header is not one of an .npy file") from None
    if dtype.hasobject:
        raise DamagedArchiveError("it holds Python objects")
    if dtype.itemsize == 0 or any(type(size) is not int or size < 0 for size in shape):
        raise DamagedArchiveError(f"its header says {dtype} {shape}")
    return shape, fortran, dtype, stream.tell()


def read_pickled_strings(npy: bytes) -> NDArray[Any] | None:
    """Extract the strings of an .npy file of Python objects; None for any other file.

    Parses the pickle's opcodes without executing them: unpickling would run code.
    """
    stream = io.BytesIO(npy)
    try:
        np.lib.format.read_magic(stream)
        _, _, dtype = np.lib.format.read_array_header_1_0(stream)
        opcodes = [(opcode.name, argument) for opcode, argument, _ in pickletools.genops(stream.read())]
    except Exception:  # a damaged header is parsed as Python, and a damaged pickle can fail in many ways
        return None
    names = [name for name, _ in opcodes]
    if not dtype.hasobject or "EMPTY_LIST" not in names:
        return None
    begin = names.index("EMPTY_LIST") + 1  # start of the array's values
    values = opcodes[begin : names.index("TUPLE", begin)] if "TUPLE" in names[begin:] else []
    strings: list[str | bytes] = [argument for name, argument in values if name in PICKLE_STRINGS]  # type: ignore[misc]
    others = {name for name, _ in values} - PICKLE_STRINGS - PICKLE_STRUCTURE
    if others or len({type(string) for string in strings}) != 1 or max(map(len, strings)) > MAX_CLASS_NAME:
        return None
    return np.array(strings)


def class_indices(labels: NDArray[Any], classes: list[str] | None, name: str) -> tuple[NDArray[np.int64], list[str]]:
    """Convert labels [N] that are class names to indices into `classes`, by default the sorted distinct labels.

    Raises DataError for a label that is not in `classes`.
    """
    known = classes if classes is not None else sort_classes(set(labels.tolist()))
    if unknown := sorted(set(labels.tolist()) - set(known)):
        raise DataError(f"{name}: the label {unknown[0]!r} is not among the class names; add it to them")
    index = {text: label for label, text in enumerate(known)}
    return np.array([index[text] for text in labels.tolist()], np.int64), known
