"""What every kind of source is turned into: items with a name, a label and a way to read them."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.manifest import SkippedFile

MAX_FILE_MIB = 256  # a larger file is no picture to train on, and would be held in memory whole
HEAD_BYTES = 1024  # of a file's beginning, by which its format is known

Pixels = NDArray[np.uint8]  # [H, W] or [H, W, C]


class UnreadableImageError(Exception):
    """One file that cannot become an image; its text is the reason that the manifest gives."""


@dataclass(frozen=True, slots=True)
class Item:
    """One candidate image."""

    name: str  # relative to the source, with /
    read: Callable[[], bytes | Pixels]  # an image file's bytes, or pixels; raises UnreadableError
    label: int | None = None  # index into Source.classes
    read_head: Callable[[], bytes] | None = None  # the first HEAD_BYTES, where that is less work than to read all

    def head(self) -> bytes:
        """The first bytes of an image file. Raises UnreadableError."""
        if self.read_head is not None:
            return self.read_head()
        content = self.read()
        return content[:HEAD_BYTES] if isinstance(content, bytes) else b""


class IgnoredFile(NamedTuple):
    """A file that never claimed to be a picture to train on, so that it is no failure."""

    file: str
    kind: str  # what it is, in the plural: "system files"
    read: Callable[[], bytes | Pixels] | None = None  # as an item's; None where nobody needs it


@dataclass(frozen=True, slots=True)
class Source:
    """All candidate images of a source, sorted by name.

    Either every item has a label and `classes` names it, or none has and `classes` is empty.
    """

    items: list[Item]
    classes: list[str] = field(default_factory=list)
    class_tags: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by class; without: its name is its only tag
    rejected: list[SkippedFile] = field(default_factory=list)  # candidates that need not be opened to be refused
    left_out: list[IgnoredFile] = field(default_factory=list)
    untagged: int = 0
    unknown_tags: dict[str, int] = field(default_factory=dict)
    unknown_files: int = 0


def refuse_large(size: int) -> None:
    """Raises UnreadableError for a file of more bytes than an image may have."""
    if size > MAX_FILE_MIB << 20:
        raise UnreadableImageError(f"too large: {size / 2**20:.0f} MiB, the limit is {MAX_FILE_MIB}")


def read_file(path: Path) -> bytes:
    """A file's bytes. Raises UnreadableError where there is no permission, no file any more, or too much of it."""
    try:
        with path.open("rb") as file:
            refuse_large(os.fstat(file.fileno()).st_size)
            return file.read()
    except OSError as error:
        raise UnreadableImageError(f"cannot be read: {error.strerror}") from None


def read_head(path: Path) -> bytes:
    """A file's first bytes. Raises UnreadableError where they cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise UnreadableImageError(f"cannot be read: {error.strerror}") from None
