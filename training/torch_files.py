"""Torch files with an embedded checksum, since `torch.load` does not detect flipped bits.

torch.save writes a zip archive, which may end in a comment. The comment holds the SHA-256 of all bytes before it, so
that the file carries its own checksum and torch.load still reads it. This detects damage, not forgery; malicious
pickles are stopped by `weights_only`, which loads tensors and plain values only.
"""

import hashlib
import os
import struct
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import torch

from serving.files import atomic_write

BLOCK_BYTES = 1 << 20  # hashed at a time
LENGTH_FIELD = struct.Struct("<H")  # precedes the comment; without one, it ends the archive
COMMENT_BYTES = LENGTH_FIELD.size + len("sha256:") + 64


class DamagedFileError(Exception):
    """A file that differs from what `save_with_checksum` wrote."""


def save_with_checksum(value: Any, path: Path) -> None:
    """Write tensors and plain values to `path` atomically. Equal values give equal bytes.

    torch.save gets an open file, because it would store the name of a path, here a temporary one, in the archive.
    """
    with atomic_write(path) as temporary:
        with temporary.open("wb") as file:
            _save(value, file)
        with temporary.open("r+b") as file:
            size = file.seek(0, os.SEEK_END) - LENGTH_FIELD.size  # torch writes no comment
            comment = _comment(file, size)
            file.seek(size)
            file.write(comment)


def load_with_checksum(path: Path) -> Any:
    """Load a saved value onto the CPU. Raises DamagedFileError if the file is damaged, FileNotFoundError if missing."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END) - COMMENT_BYTES
        if size < 0:
            raise DamagedFileError(f"{path} is cut short")
        expected = _comment(file, size)
        file.seek(size)
        if file.read() != expected:
            raise DamagedFileError(f"{path} does not have the checksum that it was written with")
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)


def peek(path: Path) -> Any:
    """Load a saved value without reading its tensors, which are mapped, and without looking for damage to them.

    Raises DamagedFileError for a file that torch cannot read.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, UnpicklingError) as error:
        raise DamagedFileError(f"{path} cannot be read") from error


def stored_checksum(path: Path) -> str:
    """Hexadecimal SHA-256 that a file written by `save_with_checksum` carries; it identifies the content."""
    with path.open("rb") as file:
        file.seek(-64, os.SEEK_END)
        return file.read().decode()


def _save(value: Any, file: IO[bytes]) -> None:
    """Call torch.save. Raises the OSError of a write that fails, which torch hides behind a RuntimeError of its own."""
    try:
        torch.save(value, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _comment(file: IO[bytes], size: int) -> bytes:
    """Build the archive comment, with its length field: the checksum of the first `size` bytes."""
    digest = hashlib.sha256()
    file.seek(0)
    while size > 0 and (block := file.read(min(BLOCK_BYTES, size))):
        digest.update(block)
        size -= len(block)
    text = f"sha256:{digest.hexdigest()}".encode()
    return LENGTH_FIELD.pack(len(text)) + text
