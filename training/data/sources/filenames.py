"""Names of files and archive members as text: UTF-8, or refused with what their bytes could mean.

Zips without the UTF-8 flag, old tars and foreign disks hold names in whatever encoding their maker used. A guess would
go into the model's card and its API as a class name that nobody can type.
"""

import os
import struct
import unicodedata
import zlib
from pathlib import Path, PurePosixPath
from zipfile import ZipInfo

from training.data.manifest import DataError

UTF8_FLAG = 0x800
UNICODE_PATH = 0x7075  # Info-ZIP's extra field: version 1, CRC-32 of the name as written, the name in UTF-8
READINGS = {
    "cp437": "DOS cp437",
    "cp1252": "Windows-1252",
    "latin-1": "Latin-1",
    "cp932": "Shift-JIS",
    "gbk": "GBK",
    "cp949": "Korean cp949",
    "cp1251": "Cyrillic Windows-1251",
    "cp866": "Cyrillic cp866",
}
# What operating systems and network storage leave beside pictures, in lower case; names with a dot in front apart.
SYSTEM_NAMES = {
    "__macosx", "icon\r", "network trash folder", "temporary items",  # macOS
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin", "recycler",
    "system volume information",  # Windows
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "lost+found",  # Synology, QNAP, Linux
}  # fmt: skip
SYSTEM_STREAMS = (":zone.identifier", "\uf03azone.identifier", ":afp_afpinfo", ":com.apple.quarantine")  # of NTFS


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


def utf8_name(raw: bytes, origin: Path, remedy: str) -> str:
    """The name as text. Raises DataError with its possible readings and the remedy where it is not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        part = next(part for part in raw.split(b"/") if not _is_utf8(part))
        readings = ", ".join(f"{text} as {encoding}" for text, encoding in _readings(part).items())
        raise DataError(f"{origin}: a name in it is not UTF-8 ({readings or part!r}); {remedy}") from None


def zip_name(member: ZipInfo, origin: Path) -> str:
    """The path of a zip's member, with / for the \\ that some Windows programs write. Raises DataError as above."""
    raw = written_name(member)
    if not member.flag_bits & UTF8_FLAG:
        raw = _unicode_path(member.extra, raw) or raw
    name = utf8_name(raw, origin, "pack it again with UTF-8 names, as `7z a -tzip -mcu=on` or `zip -r` do")
    return name.replace("\\", "/")


def written_name(member: ZipInfo) -> bytes:
    """The bytes of the name in the archive: without the UTF-8 flag, zipfile has read them as cp437, all 256 of it."""
    return member.orig_filename.encode("utf-8" if member.flag_bits & UTF8_FLAG else "cp437")


def _unicode_path(extra: bytes, written: bytes) -> bytes | None:
    """The name from Info-ZIP's field; None where there is none, or the name was changed since without it."""
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        data, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == UNICODE_PATH and data[:5] == struct.pack("<BL", 1, zlib.crc32(written)):
            return data[5:]
    return None


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _readings(raw: bytes) -> dict[str, str]:
    """Encodings by what the bytes read in them, where that could be a name; of equal readings the first encoding."""
    found: dict[str, str] = {}
    for codec, encoding in READINGS.items():
        text = raw.decode(codec, "replace")
        if text.isprintable() and "\ufffd" not in text:
            found.setdefault(text, encoding)
    return found


def leads_outside(name: str) -> bool:
    """Whether a relative path would leave the folder that it belongs to."""
    return name.startswith("/") or ".." in name.split("/")
