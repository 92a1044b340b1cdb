"""Base types of the data sources: Item, a candidate image with its label, and Source, all items with their classes."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.manifest import SkippedFile

MAX_FILE_MIB = 256  # files are held in memory whole, and no training image is larger
HEAD_BYTES = 1024  # prefix of a file by which its format is detected

Pixels = NDArray[np.uint8]  # [H, W] or [H, W, C]


class UnreadableImageError(Exception):
    """One file that cannot be used as an image; its text is the reason in the manifest."""


@dataclass(frozen=True, slots=True)
class Item:
    """One candidate image, read on demand."""

    name: str  # relative to the source, with /
    read: Callable[[], bytes | Pixels]  # an image file's bytes, or pixels; raises UnreadableImageError
    label: int | None = None  # index into Source.classes
    read_head: Callable[[], bytes] | None = None  # the first HEAD_BYTES, if cheaper than a full read

    def head(self) -> bytes:
        """Return the first bytes of an image file. Raises UnreadableImageError."""
        if self.read_head is not None:
            return self.read_head()
        content = self.read()
        return content[:HEAD_BYTES] if isinstance(content, bytes) else b""


class IgnoredFile(NamedTuple):
    """A file that is neither an image nor named like one; not counted as a failure."""

    file: str
    kind: str  # in the plural: "system files"
    read: Callable[[], bytes | Pixels] | None = None  # as Item.read; None if the content is never needed


@dataclass(frozen=True, slots=True)
class Source:
    """All candidate images of a data source, sorted by name.

    Either every item has a label that indexes `classes`, or none has one and `classes` is empty.
    """

    items: list[Item]
    classes: list[str] = field(default_factory=list)
    class_tags: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by class; default: its name is its only tag
    skipped: list[SkippedFile] = field(default_factory=list)  # failures known without opening the file
    ignored: list[IgnoredFile] = field(default_factory=list)
    untagged: int = 0
    unknown_tags: dict[str, int] = field(default_factory=dict)
    unknown_files: int = 0


def refuse_large(size: int) -> None:
    """Raise UnreadableImageError if a file of `size` bytes exceeds MAX_FILE_MIB."""
    if size > MAX_FILE_MIB << 20:
        raise UnreadableImageError(f"too large: {size / 2**20:.0f} MiB, the limit is {MAX_FILE_MIB}")


def read_file(path: Path) -> bytes:
    """Read a file. Raises UnreadableImageError if it is missing, forbidden or larger than MAX_FILE_MIB."""
    try:
        with path.open("rb") as file:
            refuse_large(os.fstat(file.fileno()).st_size)
            return file.read()
    except OSError as error:
        raise UnreadableImageError(f"cannot be read: {error.strerror}") from None


def read_head(path: Path) -> bytes:
    """Read the first HEAD_BYTES of a file. Raises UnreadableImageError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise UnreadableImageError(f"cannot be read: {error.strerror}") from None
