"""Zip source: archives read in place, with a verified central directory and enforced sizes.

zipfile parses the central directory. Content is decompressed here, because zipfile decompresses before it cuts to the
declared size, and takes the last of several concatenated archives for the whole file.
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
from training.data.sources.archives import ArchiveMembers
from training.data.sources.base import HEAD_BYTES, Source, UnreadableImageError, refuse_large
from training.data.sources.decompression import (
    CHUNK_BYTES,
    RAW_DEFLATE,
    DamagedArchiveError,
    Decompressor,
    UnpackQuota,
    ZipLzmaDecompressor,
    decompress,
)
from training.data.sources.filenames import raw_member_name, zip_member_name

LOCAL_HEADER, LOCAL_SIGNATURE = struct.Struct("<4s22xHH"), b"PK\x03\x04"
END_RECORD, END_SIGNATURE = struct.Struct("<4sHHHHLLH"), b"PK\x05\x06"
LOCATOR, LOCATOR_SIGNATURE = struct.Struct("<4sLQL"), b"PK\x06\x07"
ZIP64_END = struct.Struct("<4s28xQ16x")
ZIP64_SIZE = LOCATOR.size + ZIP64_END.size
ENCRYPTED = 0x2041  # flags: encrypted, strong encryption, encrypted central directory
UNSUPPORTED_METHODS = {1: "Shrink", 6: "Implode", 9: "Deflate64", 93: "Zstandard", 95: "XZ", 96: "JPEG", 98: "PPMd"}
MAX_LINK = 4096  # bytes of a symbolic link's target, which is its content
REPACK_HINT = "download or pack it again"


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A member of the archive."""

    name: str  # with /, UTF-8
    info: zipfile.ZipInfo
    start: int  # offset of its packed bytes in the archive


@dataclass(frozen=True, slots=True)
class ZipArchive:
    """An open archive with a verified central directory."""

    path: Path
    file: BinaryIO
    members: list[ZipMember]

    def chunks(self, member: ZipMember) -> Iterator[bytes]:
        """Yield a member's content; thread-safe. Raises DamagedArchiveError on a size or checksum mismatch."""
        info, left, crc = member.info, member.info.file_size, 0
        for chunk in self._decompressed(member):
            left -= len(chunk)
            if left < 0:
                raise DamagedArchiveError(f"it unpacks to more than the {info.file_size} bytes that it declares")
            crc = zlib.crc32(chunk, crc)
            yield chunk
        if left or crc != info.CRC:
            raise DamagedArchiveError("its content differs from its declared size or checksum")

    def _decompressed(self, member: ZipMember) -> Iterator[bytes]:
        info = member.info
        packed = self._packed(member.start, member.start + info.compress_size)
        if info.compress_type == zipfile.ZIP_STORED:
            return packed
        decompressors: dict[int, Callable[[], Decompressor]] = {
            zipfile.ZIP_DEFLATED: RAW_DEFLATE,
            zipfile.ZIP_BZIP2: bz2.BZ2Decompressor,
        }
        if info.compress_type == zipfile.ZIP_LZMA:
            header = os.pread(self.file.fileno(), ZipLzmaDecompressor.HEADER, member.start)
            packed = self._packed(member.start + ZipLzmaDecompressor.HEADER, member.start + info.compress_size)
            decompressors[zipfile.ZIP_LZMA] = partial(ZipLzmaDecompressor, header, info.file_size)
        return decompress(packed, decompressors[info.compress_type], concatenated=False)

    def _packed(self, start: int, end: int) -> Iterator[bytes]:
        for offset in range(start, end, CHUNK_BYTES):
            yield os.pread(self.file.fileno(), min(CHUNK_BYTES, end - offset), offset)


def is_zip(path: Path) -> bool:
    """Return whether a file is a zip archive, complete or not."""
    with path.open("rb") as file:
        return file.read(len(LOCAL_SIGNATURE)) in (LOCAL_SIGNATURE, END_SIGNATURE) or zipfile.is_zipfile(file)


@contextmanager
def open_zip(path: Path, quota: UnpackQuota) -> Iterator[ZipArchive]:
    """Open and verify an archive.

    Raises DataError when it is damaged, truncated, split, encrypted or packed with an unsupported method, has names
    that are not UTF-8, or declares to unpack to more than the quota.
    """
    with path.open("rb") as file:
        members = []
        for info, start in _read_directory(file, path):
            name = zip_member_name(info, path)
            if info.flag_bits & ENCRYPTED:
                raise DataError(f"{path} is protected by a password; unpack it, or pack it again without one")
            if info.compress_type not in (0, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
                method = UNSUPPORTED_METHODS.get(info.compress_type, f"method {info.compress_type}")
                raise DataError(
                    f"{path} is packed with {method}, which is not read here; unpack it and set data.source to the "
                    "folder, or pack it again with the usual Deflate"
                )
            quota.spend_total(info.file_size)
            members.append(ZipMember(name, info, start))
        yield ZipArchive(path, file, members)


def zip_source(archive: ZipArchive) -> Source:
    """List every file of the archive, unlabelled, read on demand."""
    members = ArchiveMembers()
    for member in archive.members:
        name = member.name.removeprefix("./")
        if name.endswith("/") or not members.accepts(name):
            continue
        if stat.S_ISLNK(member.info.external_attr >> 16) and member.info.file_size <= MAX_LINK:
            target = b"".join(archive.chunks(member)).decode("utf-8", "replace")
            members.add_link(name, posixpath.join(posixpath.dirname(name), target))
        else:
            members.add_file(name, partial(_read, archive, member), partial(_read_head, archive, member))
    return members.to_source()


def _read(archive: ZipArchive, member: ZipMember) -> bytes:
    """Read a member. Raises UnreadableImageError when it is damaged or too large."""
    refuse_large(member.info.file_size)
    try:
        return b"".join(archive.chunks(member))
    except DamagedArchiveError as error:
        raise UnreadableImageError(f"damaged in the archive: {error}") from None


def _read_head(archive: ZipArchive, member: ZipMember) -> bytes:
    """Read a member's first bytes. Raises UnreadableImageError when they are damaged."""
    try:
        return next(archive.chunks(member), b"")[:HEAD_BYTES]
    except DamagedArchiveError as error:
        raise UnreadableImageError(f"damaged in the archive: {error}") from None


def _read_directory(file: BinaryIO, path: Path) -> list[tuple[zipfile.ZipInfo, int]]:
    """Read the central directory: members in its order, each with the offset of its content. Raises like open_zip."""
    try:
        archive = zipfile.ZipFile(file)
        _check_end_record(file, archive)
        starts = _content_offsets(file, archive)
    except zipfile.BadZipFile as error:
        missing = str(error) == "File is not a zip file"
        reason = "its list of members is missing, so it ends early" if missing else error
        raise DataError(f"{path} cannot be unpacked: {reason}; {REPACK_HINT}") from None
    except (DamagedArchiveError, ValueError, OverflowError, struct.error, NotImplementedError) as error:
        raise DataError(f"{path} cannot be unpacked: {error}; {REPACK_HINT}") from None
    return [(info, starts[info.header_offset]) for info in archive.infolist()]


def _check_end_record(file: BinaryIO, archive: zipfile.ZipFile) -> None:
    """Raise DamagedArchiveError unless the file ends with an end record that counts the listed members."""
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


def _content_offsets(file: BinaryIO, archive: zipfile.ZipFile) -> dict[int, int]:
    """Map the offset of each member's local header to the offset of its content.

    Raises DamagedArchiveError when a local header contradicts the central directory, members overlap (a decompression
    bomb), or members are not listed (concatenated archives, of which the last directory lists only its own).
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
        if name != raw_member_name(info):
            raise DamagedArchiveError("a member has another name in the list than in its own header")
        _refuse_unlisted(file, position, info.header_offset)
        starts[info.header_offset] = info.header_offset + LOCAL_HEADER.size + name_size + extra_size
        position = starts[info.header_offset] + info.compress_size
    if position > archive.start_dir:
        raise DamagedArchiveError("its members are longer than the archive")
    _refuse_unlisted(file, position, archive.start_dir)
    return starts


def _refuse_unlisted(file: BinaryIO, start: int, end: int) -> None:
    """Raise DamagedArchiveError for a local header in a gap between the listed members."""
    for offset in range(start, end, CHUNK_BYTES):
        if LOCAL_SIGNATURE in os.pread(
            file.fileno(), min(CHUNK_BYTES + len(LOCAL_SIGNATURE) - 1, end - offset), offset
        ):
            raise DamagedArchiveError("it holds members that its list leaves out, as joined archives do")
