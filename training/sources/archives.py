"""A zip or tar archive of a folder of images -> items.

Members are never written under their own names, so no name can lead out of the scratch folder: zip members are read
in place, and tar members, which can only be read one after the other, are unpacked under numbers.
"""

import lzma
import shutil
import tarfile
import zipfile
import zlib
from functools import partial
from pathlib import Path, PurePosixPath

from training.manifest import DataError, Skipped
from training.sources.items import Item, Source, UnreadableError, is_hidden, printable_name, read_file, refuse_large

DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, NotImplementedError)


def opened_zip(path: Path) -> zipfile.ZipFile:
    """The archive, ready to be read. Raises DataError where its table of contents is damaged."""
    try:
        return zipfile.ZipFile(path)
    except DAMAGED as error:
        raise DataError(f"{path} cannot be unpacked: {error}; download or pack it again") from None


def zip_source(archive: zipfile.ZipFile) -> Source:
    """Every file of a zip archive, unlabelled. Raises DataError for one with a password."""
    items, rejected = [], []
    for member in archive.infolist():
        name = printable_name(member.filename.replace("\\", "/"))
        if member.is_dir() or _is_hidden_member(name):
            continue
        if member.flag_bits & 1:
            raise DataError(f"{archive.filename} is protected by a password; unpack it, or pack it again without one")
        if _leads_outside(name):
            rejected.append(_outside(name))
        else:
            items.append(Item(name, partial(_read_zip_member, archive, member)))
    return Source(items, rejected=rejected)


def _read_zip_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """One member's bytes; zipfile reads no more than the size that was checked. Safe to call from many threads."""
    refuse_large(member.file_size)
    try:
        return archive.read(member)
    except DAMAGED as error:
        raise UnreadableError(f"damaged in the archive: {error}") from None


def tar_source(path: Path, scratch: Path) -> Source:
    """Every regular file of a tar archive, unlabelled, unpacked into `scratch`. Raises DataError for a damaged one."""
    items, rejected = [], []
    try:
        with tarfile.open(path) as archive:
            for number, member in enumerate(archive):
                name = printable_name(member.name).removeprefix("./")
                if member.isdir() or _is_hidden_member(name):
                    continue
                try:
                    unpacked = _unpack(archive, member, scratch / f"{number:08d}")
                except UnreadableError as error:
                    rejected.append(Skipped(file=name, reason=str(error)))
                else:
                    items.append(Item(name, partial(read_file, unpacked)))
    except DAMAGED as error:
        raise DataError(f"{path} cannot be unpacked: {error}; download or pack it again") from None
    return Source(items, rejected=rejected)


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> Path:
    """Copies one regular member to `target`. Raises UnreadableError for any other kind, and for an oversized one."""
    if _leads_outside(member.name):
        raise UnreadableError(_outside(member.name).reason)
    stream = archive.extractfile(member) if member.isreg() else None
    if stream is None:
        raise UnreadableError("a link or a device, not a file")
    refuse_large(member.size)
    with stream, target.open("wb") as file:
        shutil.copyfileobj(stream, file)
    return target


def _leads_outside(name: str) -> bool:
    return name.startswith("/") or ".." in PurePosixPath(name).parts


def _is_hidden_member(name: str) -> bool:
    """Hidden as in a folder; `..` is not hidden but refused, so that it is reported."""
    return not _leads_outside(name) and is_hidden(name)


def _outside(name: str) -> Skipped:
    return Skipped(file=name, reason="its path leads outside the archive")
