"""Tar source: archives, plain or compressed, unpacked to numbered files and verified to their end.

tarfile treats a damaged header, or the end of the first of several concatenated archives, as the end of the file. Here
an archive ends only at the end of the file, after its closing zeros.
"""

import bz2
import posixpath
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, Self

from training.data.manifest import DataError
from training.data.sources.archives import ArchiveMembers
from training.data.sources.base import Source, UnreadableImageError, read_file, read_head, refuse_large
from training.data.sources.decompression import (
    CHUNK_BYTES,
    GZIP,
    XZ,
    DamagedArchiveError,
    Decompressor,
    UnpackQuota,
    decompress,
)
from training.data.sources.filenames import decode_filename

COMPRESSIONS: dict[bytes, Callable[[], Decompressor]] = {
    b"\x1f\x8b": GZIP,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\x00": XZ,
    b"\x5d\x00\x00": XZ,  # .lzma
}
MAX_HEADER = 1 << 20  # bytes of an extended header, which tarfile reads at once
DAMAGED = (tarfile.TarError, DamagedArchiveError, ArithmeticError, LookupError, RecursionError, ValueError)
BACKWARD_SEEK = "a member's header leads back"


class ForwardReader:
    """File object over a stream of chunks, for tarfile: seeks only forward, and buffers no more than a read needs."""

    def __init__(self, chunks: Iterator[bytes], quota: UnpackQuota) -> None:
        self._chunks, self._quota = chunks, quota
        self._buffer = bytearray()
        self._position = 0

    def tell(self) -> int:
        """Return the number of bytes read so far."""
        return self._position

    def read(self, size: int) -> bytes:
        """Read `size` bytes, fewer at the end. Raises ReadError for more than MAX_HEADER."""
        if not 0 <= size <= MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        while len(self._buffer) < size and self._fill():
            pass
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._position += len(data)
        return data

    def seek(self, position: int) -> None:
        """Skip forward. Raises ReadError for a position before the current one or after the end."""
        if position < self._position:
            raise tarfile.ReadError(BACKWARD_SEEK)
        while self._position < position:
            if not self.read(min(CHUNK_BYTES, position - self._position)):
                raise tarfile.ReadError("it ends early")

    def _fill(self) -> bool:
        chunk = next(self._chunks, b"")
        self._quota.spend_total(len(chunk))
        self._buffer += chunk
        return bool(chunk)


class ConcatenatedTarFile(tarfile.TarFile):
    """Tar file that continues after blocks of zeros, as concatenated archives do."""

    ignore_zeros = True
    closed_at = -1  # the end of the last block of zeros


class StrictTarInfo(tarfile.TarInfo):
    """Member header that is checked strictly: damage that tarfile would skip or take for the end is an error."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """Read the next member. Raises ReadError for anything but a member or the closing zeros."""
        assert isinstance(archive, ConcatenatedTarFile)
        assert archive.fileobj is not None
        try:
            member = super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # a block of zeros
            archive.closed_at = archive.fileobj.tell()
            raise
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
            if archive.closed_at != archive.fileobj.tell():
                raise tarfile.ReadError("it ends early") from None
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"a member's header is damaged: {error}") from None
        if archive.offset < archive.fileobj.tell():  # a negative size
            raise tarfile.ReadError(BACKWARD_SEEK)
        return member


def is_tar(path: Path) -> bool:
    """Return whether a file starts with a valid tar header, compressed or not."""
    with path.open("rb") as file:
        try:
            first = next(_decompressed(file), b"")
            tarfile.TarInfo.frombuf(first[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
        except (DamagedArchiveError, tarfile.HeaderError, ValueError):
            return False
    return True


def has_tar_suffix(path: Path) -> bool:
    """Return whether a file is named like a tar archive."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return ".tar" in suffixes or suffixes[-1:] in ([".tgz"], [".tbz"], [".tbz2"], [".txz"], [".tlz"])


def tar_source(path: Path, scratch: Path, quota: UnpackQuota) -> Source:
    """Unpack a tar archive into `scratch` and list its files, unlabelled.

    Raises DataError for an archive that is damaged or ends early, has names that are not UTF-8, or exceeds the quota.
    """
    members = ArchiveMembers()
    with path.open("rb") as file:
        try:
            archive = ConcatenatedTarFile(
                fileobj=ForwardReader(_decompressed(file), quota),  # type: ignore[arg-type]  # has all the methods that tarfile calls
                tarinfo=StrictTarInfo,
                encoding="utf-8",
                errors="surrogateescape",
            )
            while (member := archive.next()) is not None:
                _add_member(archive, member, members, scratch / f"{member.offset:016d}", quota, path)
                archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep every member in memory
        except DAMAGED as error:
            raise DataError(f"{path} cannot be unpacked: {error}; download or pack it again") from None
    return members.to_source()


def _add_member(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    members: ArchiveMembers,
    target: Path,
    quota: UnpackQuota,
    path: Path,
) -> None:
    """Add one member, unpacking a regular file to `target`. Raises like tar_source."""
    raw = member.name.encode("utf-8", "surrogateescape")
    name = decode_filename(raw, path, "pack it again on a system with UTF-8 names").removeprefix("./")
    if member.isdir() or not members.accepts(name):
        return
    if member.issym():
        members.add_link(name, posixpath.join(posixpath.dirname(name), member.linkname))
    elif member.islnk():
        members.add_link(name, member.linkname)
    elif not member.isreg():
        members.exclude(name, "a device, not a file")
    else:
        try:
            _extract(archive, member, target, quota)
            members.add_file(name, partial(read_file, target), partial(read_head, target))
        except UnreadableImageError as error:
            members.exclude(name, str(error))


def _decompressed(file: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes of the archive, decompressed by magic number. Raises DamagedArchiveError."""
    packed = iter(partial(file.read, CHUNK_BYTES), b"")
    head = file.read(max(map(len, COMPRESSIONS)))
    decompressor = next((make for magic, make in COMPRESSIONS.items() if head.startswith(magic)), None)
    file.seek(0)
    return decompress(packed, decompressor, concatenated=True) if decompressor else packed


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path, quota: UnpackQuota) -> None:
    """Copy one regular member to `target`. Raises UnreadableImageError for an oversized one."""
    refuse_large(member.size)
    stream = archive.extractfile(member)
    assert stream is not None
    with stream, target.open("wb") as file:
        while chunk := stream.read(CHUNK_BYTES):
            quota.spend_disk(len(chunk))
            file.write(chunk)
