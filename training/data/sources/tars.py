"""Tar archives, plain or compressed, unpacked to numbered files and read to their proven end.

tarfile takes a damaged header, or the end of the first of several joined archives, for the end of all. Here only the
end of the file is one, and only after the zeros that close an archive.
"""

import bz2
import posixpath
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, Self

from training.data.manifest import DataError
from training.data.sources.archives import Members
from training.data.sources.base import Source, UnreadableImageError, read_file, read_head, refuse_large
from training.data.sources.decompression import GZIP, STEP, XZ, Budget, DamagedArchiveError, Decoder, inflated
from training.data.sources.filenames import utf8_name

COMPRESSIONS: dict[bytes, Callable[[], Decoder]] = {
    b"\x1f\x8b": GZIP,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\x00": XZ,
    b"\x5d\x00\x00": XZ,  # .lzma
}
MAX_HEADER = 1 << 20  # bytes of an extended header, which is held in memory
DAMAGED = (tarfile.TarError, DamagedArchiveError, ArithmeticError, LookupError, RecursionError, ValueError)
BACKWARD = "a member's header leads back"


class Forward:
    """A stream of chunks as the file that tarfile reads: forward only, and never more at once than it needs."""

    def __init__(self, chunks: Iterator[bytes], budget: Budget) -> None:
        self._chunks, self._budget = chunks, budget
        self._ready = bytearray()
        self._position = 0

    def tell(self) -> int:
        """Bytes read so far."""
        return self._position

    def read(self, size: int) -> bytes:
        """So many bytes, fewer at the end. Raises ReadError for more than any header or step of a member has."""
        if not 0 <= size <= MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        while len(self._ready) < size and self._more():
            pass
        data = bytes(self._ready[:size])
        del self._ready[:size]
        self._position += len(data)
        return data

    def seek(self, position: int) -> None:
        """Skips forward. Raises ReadError where that leads back or behind the end."""
        if position < self._position:
            raise tarfile.ReadError(BACKWARD)
        while self._position < position:
            if not self.read(min(STEP, position - self._position)):
                raise tarfile.ReadError("it ends early")

    def _more(self) -> bool:
        chunk = next(self._chunks, b"")
        self._budget.inflate(len(chunk))
        self._ready += chunk
        return bool(chunk)


class Tar(tarfile.TarFile):
    """An archive that goes on behind the zeros in it, as joined ones do."""

    ignore_zeros = True
    closed_at = -1  # the end of the last block of zeros


class ProvenMember(tarfile.TarInfo):
    """A member whose header is whole: what tarfile would skip, or take for the end, is an error."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """The next member. Raises ReadError where there is neither one nor a proven end."""
        assert isinstance(archive, Tar)
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
            raise tarfile.ReadError(BACKWARD)
        return member


def is_tar(path: Path) -> bool:
    """Whether a file begins with a whole header of a tar archive, compressed or not."""
    with path.open("rb") as file:
        try:
            first = next(_chunks(file), b"")
            tarfile.TarInfo.frombuf(first[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
        except (DamagedArchiveError, tarfile.HeaderError, ValueError):
            return False
    return True


def is_called_tar(path: Path) -> bool:
    """Whether a file's name is a tar archive's."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return ".tar" in suffixes or suffixes[-1:] in ([".tgz"], [".tbz"], [".tbz2"], [".txz"], [".tlz"])


def tar_source(path: Path, scratch: Path, budget: Budget) -> Source:
    """Every file of a tar archive, unlabelled, unpacked into `scratch`.

    Raises DataError for one that is damaged or ends early, holds names that are not UTF-8, or unpacks to more than
    the budget.
    """
    found = Members()
    with path.open("rb") as file:
        try:
            archive = Tar(
                fileobj=Forward(_chunks(file), budget),  # type: ignore[arg-type]  # all that tarfile calls is there
                tarinfo=ProvenMember,
                encoding="utf-8",
                errors="surrogateescape",
            )
            while (member := archive.next()) is not None:
                _take(archive, member, found, scratch / f"{member.offset:016d}", budget, path)
                archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep them all
        except DAMAGED as error:
            raise DataError(f"{path} cannot be unpacked: {error}; download or pack it again") from None
    return found.source()


def _take(
    archive: tarfile.TarFile, member: tarfile.TarInfo, found: Members, target: Path, budget: Budget, path: Path
) -> None:
    """Adds one member, a regular file unpacked to `target`. Raises as tar_source."""
    raw = member.name.encode("utf-8", "surrogateescape")
    name = utf8_name(raw, path, "pack it again on a system with UTF-8 names").removeprefix("./")
    if member.isdir() or not found.wants(name):
        return
    if member.issym():
        found.link(name, posixpath.join(posixpath.dirname(name), member.linkname))
    elif member.islnk():
        found.link(name, member.linkname)
    elif not member.isreg():
        found.reject(name, "a device, not a file")
    else:
        try:
            _unpack(archive, member, target, budget)
            found.add(name, partial(read_file, target), partial(read_head, target))
        except UnreadableImageError as error:
            found.reject(name, str(error))


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """The bytes of the archive, unpacked. Raises DamagedError where its compression is damaged."""
    packed = iter(partial(file.read, STEP), b"")
    head = file.read(max(map(len, COMPRESSIONS)))
    new = next((new for magic, new in COMPRESSIONS.items() if head.startswith(magic)), None)
    file.seek(0)
    return inflated(packed, new, several=True) if new else packed


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path, budget: Budget) -> None:
    """Copies one regular member to `target`. Raises UnreadableError for an oversized one."""
    refuse_large(member.size)
    stream = archive.extractfile(member)
    assert stream is not None
    with stream, target.open("wb") as file:
        while chunk := stream.read(STEP):
            budget.store(len(chunk))
            file.write(chunk)
