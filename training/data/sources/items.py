"""What every kind of source is turned into: items with a name, a label and a way to read them."""

import os
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.manifest import Skipped

MAX_FILE_MIB = 256  # a larger file is no picture to train on, and would be held in memory whole
HEAD_BYTES = 1024  # of a file's beginning, by which its format is known
# What operating systems and network storage leave beside pictures, in lower case; names with a dot in front apart.
SYSTEM_NAMES = {
    "__macosx", "icon\r", "network trash folder", "temporary items",  # macOS
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin", "recycler",
    "system volume information",  # Windows
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "lost+found",  # Synology, QNAP, Linux
}  # fmt: skip
SYSTEM_STREAMS = (":zone.identifier", "\uf03azone.identifier", ":afp_afpinfo", ":com.apple.quarantine")  # of NTFS

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


class LeftOut(NamedTuple):
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
    rejected: list[Skipped] = field(default_factory=list)  # candidates that need not be opened to be refused
    left_out: list[LeftOut] = field(default_factory=list)
    untagged: int = 0
    unknown_tags: dict[str, int] = field(default_factory=dict)
    unknown_files: int = 0


def is_hidden(name: str) -> bool:
    """Whether any part of a relative path is one that people neither see nor mean."""
    return any(
        part.startswith(".") or part.casefold() in SYSTEM_NAMES or part.casefold().endswith(SYSTEM_STREAMS)
        for part in PurePosixPath(name).parts
    )


def printable_name(name: str) -> str:
    """A file's name as text that any file and any client can hold.

    Bytes that are no UTF-8 become replacement marks. Accents are composed, because macOS decomposes them in file
    names, and a class name typed into a request must equal the folder's.
    """
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "replace"))


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
