"""Torch's files with a checksum inside: `torch.load` notices neither a flipped bit nor a file that is not its own.

torch.save writes a zip archive, and a zip archive may end in a comment. The comment holds the SHA-256 of all bytes
before it, so that one file carries its own checksum and torch reads it as ever. It finds damage, not forgery; against
that stands `weights_only`, which unpickles tensors and plain values and nothing else.
"""

import hashlib
import os
import struct
from pathlib import Path
from typing import IO, Any

import torch

from serving.files import atomic_write

BLOCK = 1 << 20  # bytes hashed at a time
LENGTH_FIELD = struct.Struct("<H")  # how long the comment is: the field before it, the last of an archive without one
COMMENT_BYTES = LENGTH_FIELD.size + len("sha256:") + 64


class DamagedFileError(Exception):
    """A file that is not, byte for byte, what `save_with_checksum` wrote."""


def save_with_checksum(value: Any, path: Path) -> None:
    """Writes tensors and plain values to `path`, whole or not at all. Equal values give equal bytes.

    torch is given an open file because it would write the name of a path, here a temporary one, into the archive.
    """
    with atomic_write(path) as temporary:
        with temporary.open("wb") as file:
            torch.save(value, file)
        with temporary.open("r+b") as file:
            size = file.seek(0, os.SEEK_END) - LENGTH_FIELD.size  # torch leaves no comment
            comment = _comment(file, size)
            file.seek(size)
            file.write(comment)


def load_with_checksum(path: Path) -> Any:
    """What was saved, on the CPU. Raises DamagedFileError for any other bytes, FileNotFoundError for none."""
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


def _comment(file: IO[bytes], size: int) -> bytes:
    """The archive's comment and its length, with the checksum of the first `size` bytes."""
    digest = hashlib.sha256()
    file.seek(0)
    while size > 0 and (block := file.read(min(BLOCK, size))):
        digest.update(block)
        size -= len(block)
    text = f"sha256:{digest.hexdigest()}".encode()
    return LENGTH_FIELD.pack(len(text)) + text
