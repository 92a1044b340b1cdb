"""Zip archives, read in place: what they list is proven to be all that they hold, and no size in them is believed.

zipfile reads the list of members. Their content is read here, because zipfile decompresses before it cuts to the
declared size, and takes the last of several joined archives for the whole.
"""

import bz2
import os
import posixpath
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from training.data.manifest import DataError
from training.data.sources.archives import Members
from training.data.sources.base import HEAD_BYTES, Source, UnreadableImageError, refuse_large
from training.data.sources.decompression import (
    RAW_DEFLATE,
    STEP,
    Budget,
    DamagedArchiveError,
    Decoder,
    ZipLzma,
    inflated,
)
from training.data.sources.filenames import written_name, zip_name

LOCAL_HEADER, LOCAL_SIGNATURE = struct.Struct("<4s22xHH"), b"PK\x03\x04"
END_RECORD, END_SIGNATURE = struct.Struct("<4sHHHHLLH"), b"PK\x05\x06"
LOCATOR, LOCATOR_SIGNATURE = struct.Struct("<4sLQL"), b"PK\x06\x07"
ZIP64_END = struct.Struct("<4s28xQ16x")
ZIP64_SIZE = LOCATOR.size + ZIP64_END.size
ENCRYPTED = 0x2041  # flags: this member, strongly, or the list of members
OTHER_METHODS = {1: "Shrink", 6: "Implode", 9: "Deflate64", 93: "Zstandard", 95: "XZ", 96: "JPEG", 98: "PPMd"}
MAX_LINK = 4096  # bytes of the path that a symbolic link holds as its content
AGAIN = "download or pack it again"


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A file of the archive."""

    name: str  # with /, UTF-8
    info: zipfile.ZipInfo
    start: int  # of its packed bytes in the archive


@dataclass(frozen=True, slots=True)
class ZipArchive:
    """An open archive whose list of members was checked."""

    path: Path
    file: BinaryIO
    members: list[ZipMember]

    def chunks(self, member: ZipMember) -> Iterator[bytes]:
        """A member's content in steps; safe in many threads. Raises DamagedError where it is not what was declared."""
        info, left, crc = member.info, member.info.file_size, 0
        for chunk in self._unpacked(member):
            left -= len(chunk)
            if left < 0:
                raise DamagedArchiveError(f"it unpacks to more than the {info.file_size} bytes that it declares")
            crc = zlib.crc32(chunk, crc)
            yield chunk
        if left or crc != info.CRC:
            raise DamagedArchiveError("its content differs from its declared size or checksum")

    def _unpacked(self, member: ZipMember) -> Iterator[bytes]:
        info = member.info
        packed = self._packed(member.start, member.start + info.compress_size)
        if info.compress_type == zipfile.ZIP_STORED:
            return packed
        decoders: dict[int, Callable[[], Decoder]] = {
            zipfile.ZIP_DEFLATED: RAW_DEFLATE,
            zipfile.ZIP_BZIP2: bz2.BZ2Decompressor,
        }
        if info.compress_type == zipfile.ZIP_LZMA:
            header = os.pread(self.file.fileno(), ZipLzma.HEADER, member.start)
            packed = self._packed(member.start + ZipLzma.HEADER, member.start + info.compress_size)
            decoders[zipfile.ZIP_LZMA] = partial(ZipLzma, header, info.file_size)
        return inflated(packed, decoders[info.compress_type], several=False)

    def _packed(self, start: int, end: int) -> Iterator[bytes]:
        for offset in range(start, end, STEP):
            yield os.pread(self.file.fileno(), min(STEP, end - offset), offset)


def is_zip(path: Path) -> bool:
    """Whether a file is a zip archive, whole or not."""
    with path.open("rb") as file:
        return file.read(len(LOCAL_SIGNATURE)) in (LOCAL_SIGNATURE, END_SIGNATURE) or zipfile.is_zipfile(file)


@contextmanager
def opened_zip(path: Path, budget: Budget) -> Iterator[ZipArchive]:
    """The archive, ready to be read.

    Raises DataError where it is damaged, ends early, is one of several parts, encrypted or packed by a method that is
    not read here, holds names that are not UTF-8, or declares to unpack to more than the budget.
    """
    with path.open("rb") as file:
        members = []
        for info, start in _listed(file, path):
            name = zip_name(info, path)
            if info.flag_bits & ENCRYPTED:
                raise DataError(f"{path} is protected by a password; unpack it, or pack it again without one")
            if info.compress_type not in (0, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
                method = OTHER_METHODS.get(info.compress_type, f"method {info.compress_type}")
                raise DataError(
                    f"{path} is packed with {method}, which is not read here; unpack it and set data.source to the "
                    "folder, or pack it again with the usual Deflate"
                )
            budget.inflate(info.file_size)
            members.append(ZipMember(name, info, start))
        yield ZipArchive(path, file, members)


def zip_source(archive: ZipArchive) -> Source:
    """Every file of the archive, unlabelled, read when it is asked for."""
    found = Members()
    for member in archive.members:
        name = member.name.removeprefix("./")
        if name.endswith("/") or not found.wants(name):
            continue
        if stat.S_ISLNK(member.info.external_attr >> 16) and member.info.file_size <= MAX_LINK:
            target = b"".join(archive.chunks(member)).decode("utf-8", "replace")
            found.link(name, posixpath.join(posixpath.dirname(name), target))
        else:
            found.add(name, partial(_read, archive, member), partial(_read_head, archive, member))
    return found.source()


def _read(archive: ZipArchive, member: ZipMember) -> bytes:
    """One member's bytes. Raises UnreadableError where it is damaged or too large."""
    refuse_large(member.info.file_size)
    try:
        return b"".join(archive.chunks(member))
    except DamagedArchiveError as error:
        raise UnreadableImageError(f"damaged in the archive: {error}") from None


def _read_head(archive: ZipArchive, member: ZipMember) -> bytes:
    """One member's first bytes. Raises UnreadableError where even those are damaged."""
    try:
        return next(archive.chunks(member), b"")[:HEAD_BYTES]
    except DamagedArchiveError as error:
        raise UnreadableImageError(f"damaged in the archive: {error}") from None


def _listed(file: BinaryIO, path: Path) -> list[tuple[zipfile.ZipInfo, int]]:
    """The members in the order of the list, each with where its content starts. Raises DataError as opened_zip."""
    try:
        archive = zipfile.ZipFile(file)
        _check_end(file, archive)
        starts = _starts(file, archive)
    except zipfile.BadZipFile as error:
        missing = str(error) == "File is not a zip file"
        reason = "its list of members is missing, so it ends early" if missing else error
        raise DataError(f"{path} cannot be unpacked: {reason}; {AGAIN}") from None
    except (DamagedArchiveError, ValueError, OverflowError, struct.error, NotImplementedError) as error:
        raise DataError(f"{path} cannot be unpacked: {error}; {AGAIN}") from None
    return [(info, starts[info.header_offset]) for info in archive.infolist()]


def _check_end(file: BinaryIO, archive: zipfile.ZipFile) -> None:
    """Raises DamagedError unless the file ends with the archive's end record, which counts what is listed."""
    end = os.fstat(file.fileno()).st_size - END_RECORD.size - len(archive.comment)
    record = os.pread(file.fileno(), END_RECORD.size, end)
    signature, disk, _, _, count, _, _, comment = END_RECORD.unpack(record)
    if signature != END_SIGNATURE or comment != len(archive.comment):
        raise DamagedArchiveError("there is something behind its end")
    if disk not in (0, 0xFFFF):
        raise DamagedArchiveError("it is one part of a split archive, of which all must be joined with `zip -s 0`")
    listed = len(archive.infolist())
    locator = os.pread(file.fileno(), LOCATOR.size, max(end - LOCATOR.size, 0))
    if count == 0xFFFF and locator.startswith(LOCATOR_SIGNATURE):
        count = ZIP64_END.unpack(os.pread(file.fileno(), ZIP64_END.size, max(end - ZIP64_SIZE, 0)))[1]
    if count not in (listed, listed % 0x10000):  # older programs count modulo 65536
        raise DamagedArchiveError(f"it lists {listed} members and counts {count}")


def _starts(file: BinaryIO, archive: zipfile.ZipFile) -> dict[int, int]:
    """Where the content of each member starts, by the offset of its own header.

    Raises DamagedError where a member's own header differs from the list, members overlap (a small file that unpacks
    to a large one many times), or lie there without being listed (joined archives, of which the last one lists its
    own only).
    """
    starts: dict[int, int] = {}
    position = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        if info.header_offset < position:
            raise DamagedArchiveError("its members overlap")
        header = os.pread(file.fileno(), LOCAL_HEADER.size, info.header_offset)
        if len(header) < LOCAL_HEADER.size or not header.startswith(LOCAL_SIGNATURE):
            raise DamagedArchiveError("its list of members does not fit its content")
        _, name_size, extra_size = LOCAL_HEADER.unpack(header)
        name = os.pread(file.fileno(), name_size, info.header_offset + LOCAL_HEADER.size)
        if name != written_name(info):
            raise DamagedArchiveError("a member has another name in the list than in its own header")
        _refuse_unlisted(file, position, info.header_offset)
        starts[info.header_offset] = info.header_offset + LOCAL_HEADER.size + name_size + extra_size
        position = starts[info.header_offset] + info.compress_size
    if position > archive.start_dir:
        raise DamagedArchiveError("its members are longer than the archive")
    _refuse_unlisted(file, position, archive.start_dir)
    return starts


def _refuse_unlisted(file: BinaryIO, start: int, end: int) -> None:
    """Raises DamagedError where a member's header lies in a gap between the listed ones."""
    for offset in range(start, end, STEP):
        if LOCAL_SIGNATURE in os.pread(file.fileno(), min(STEP + len(LOCAL_SIGNATURE) - 1, end - offset), offset):
            raise DamagedArchiveError("it holds members that its list leaves out, as joined archives do")
