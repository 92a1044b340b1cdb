"""File names of sources and archive members: UTF-8 decoding, Unicode normalisation, system files, unsafe paths.

Zips without the UTF-8 flag, old tars and foreign disks hold names in any encoding. Names that are not UTF-8 are refused
with their possible readings: a wrong guess would become a class name in the model card and the API.
"""

import os
import struct
import unicodedata
import zlib
from pathlib import Path, PurePosixPath
from zipfile import ZipInfo

from training.data.manifest import DataError

UTF8_FLAG = 0x800
UNICODE_PATH = 0x7075  # Info-ZIP's extra field: version 1, CRC-32 of the raw name, the name in UTF-8
LEGACY_ENCODINGS = {
    "cp437": "DOS cp437",
    "cp1252": "Windows-1252",
    "latin-1": "Latin-1",
    "cp932": "Shift-JIS",
    "gbk": "GBK",
    "cp949": "Korean cp949",
    "cp1251": "Cyrillic Windows-1251",
    "cp866": "Cyrillic cp866",
}
# Files and folders that operating systems and network storage create, in lower case; dot files are tested apart.
SYSTEM_NAMES = {
    "__macosx", "icon\r", "network trash folder", "temporary items",  # macOS
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin", "recycler",
    "system volume information",  # Windows
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "lost+found",  # Synology, QNAP, Linux
}  # fmt: skip
SYSTEM_STREAMS = (":zone.identifier", "\uf03azone.identifier", ":afp_afpinfo", ":com.apple.quarantine")  # of NTFS


def is_hidden(name: str) -> bool:
    """Return whether any part of a relative path is a hidden or system file."""
    return any(
        part.startswith(".") or part.casefold() in SYSTEM_NAMES or part.casefold().endswith(SYSTEM_STREAMS)
        for part in PurePosixPath(name).parts
    )


def printable_name(name: str) -> str:
    """Return a file's name as valid text in NFC, with replacement characters for bytes that are not UTF-8.

    macOS decomposes accents in file names, and a class name typed into a request must equal the folder's.
    """
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "replace"))


def decode_filename(raw: bytes, path: Path, remedy: str) -> str:
    """Decode a name in the source at `path`. Raises DataError with possible readings and the remedy if not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        part = next(part for part in raw.split(b"/") if not _is_utf8(part))
        readings = ", ".join(f"{text} as {encoding}" for text, encoding in _possible_decodings(part).items())
        raise DataError(f"{path}: a name in it is not UTF-8 ({readings or part!r}); {remedy}") from None


def zip_member_name(member: ZipInfo, path: Path) -> str:
    """Return a zip member's path with / for \\. Raises DataError like decode_filename."""
    raw = raw_member_name(member)
    if not member.flag_bits & UTF8_FLAG:
        raw = _unicode_path(member.extra, raw) or raw
    name = decode_filename(raw, path, "pack it again with UTF-8 names, as `7z a -tzip -mcu=on` or `zip -r` do")
    return name.replace("\\", "/")


def raw_member_name(member: ZipInfo) -> bytes:
    """Return the bytes of a member's name; without the UTF-8 flag zipfile has decoded them as cp437, losslessly."""
    return member.orig_filename.encode("utf-8" if member.flag_bits & UTF8_FLAG else "cp437")


def _unicode_path(extra: bytes, raw_name: bytes) -> bytes | None:
    """Read the name from Info-ZIP's field; None if it is missing or its checksum is of another name."""
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        data, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == UNICODE_PATH and data[:5] == struct.pack("<BL", 1, zlib.crc32(raw_name)):
            return data[5:]
    return None


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _possible_decodings(raw: bytes) -> dict[str, str]:
    """Map each printable decoding of the bytes to the first encoding that gives it."""
    found: dict[str, str] = {}
    for codec, encoding in LEGACY_ENCODINGS.items():
        text = raw.decode(codec, "replace")
        if text.isprintable() and "\ufffd" not in text:
            found.setdefault(text, encoding)
    return found


def escapes_root(name: str) -> bool:
    """Return whether a path is absolute or has a `..`, and so could leave its folder (zip slip)."""
    return name.startswith("/") or ".." in name.split("/")
