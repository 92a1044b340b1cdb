"""Builders of valid and damaged archives, as bytes."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable

from tests.training.project import Project

CATS = {f"cat/{i}.png": b"cat %d" % i for i in range(3)}
DOGS = {f"dog/{i}.png": b"dog %d" % i for i in range(3)}
PACK: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "tar.gz": gzip.compress,
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
    "tar.lzma": lambda content: lzma.compress(content, lzma.FORMAT_ALONE),
}
BLOCK = tarfile.BLOCKSIZE
REPACK_HINT = "download or pack it again"


def tar(files: dict[str, bytes], **member: object) -> bytes:
    """A tar archive; member: attributes that every member is given."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            for key, value in member.items():
                setattr(entry, key, value)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, **member: object) -> bytes:
    """A zip archive; member: attributes that every member is given."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = method
            for key, value in member.items():
                setattr(entry, key, value)
            archive.writestr(entry, content)
    return buffer.getvalue()


def patch_directory(content: bytes, offset: int, layout: str, value: int) -> bytes:
    """Overwrite a field, at `offset`, in every entry of a zip's central directory."""
    changed, position = bytearray(content), content.find(b"PK\x01\x02")
    while position >= 0:
        struct.pack_into(layout, changed, position + offset, value)
        position = content.find(b"PK\x01\x02", position + 4)
    return bytes(changed)


def write(project: Project, name: str, content: bytes) -> str:
    """Write an archive into the project; returns its name, for data.source."""
    (project.folder / name).write_bytes(content)
    return name


def contents(project: Project, source: str) -> dict[str, bytes]:
    """Read all items of a source, by name."""
    with project.open(source) as found:
        assert not found.skipped
        return {item.name: bytes(item.read()) for item in found.items}


TAR = tar(CATS | DOGS)
ZIP = zipped(CATS | DOGS)
