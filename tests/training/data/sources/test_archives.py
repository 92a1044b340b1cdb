"""Archive integrity: every member is read with its name, or the archive is refused."""

import io
import stat
import struct
import tarfile
import zipfile
import zlib

import pytest

from tests.training.data.sources.archive_builders import (
    BLOCK,
    CATS,
    DOGS,
    PACK,
    REPACK_HINT,
    TAR,
    ZIP,
    contents,
    patch_directory,
    tar,
    write,
    zipped,
)
from tests.training.project import Project
from training.data.manifest import DataError
from training.data.sources import UnreadableImageError, open_source

# Completeness


@pytest.mark.parametrize("kind", PACK)
def test_concatenated_tars_are_read_completely(project: Project, kind: str) -> None:
    first, second, pack = tar(CATS), tar(DOGS), PACK[kind]
    assert contents(project, write(project, f"pets.{kind}", pack(first + second))) == CATS | DOGS
    assert contents(project, write(project, f"pets.{kind}", pack(first) + pack(second))) == CATS | DOGS


def test_a_tar_in_several_compressed_streams_is_one_archive(project: Project) -> None:
    whole = tar(CATS | DOGS)
    parts = [whole[:700], whole[700:3000], whole[3000:]]
    for kind in ("tar.gz", "tar.bz2", "tar.xz"):
        name = write(project, f"pets.{kind}", b"".join(map(PACK[kind], parts)))
        assert contents(project, name) == CATS | DOGS


DAMAGE = {
    "cut inside a header": TAR[: 6 * BLOCK + 100],
    "cut after a header": TAR[: 7 * BLOCK],
    "cut inside a body": TAR[: 7 * BLOCK + 2],
    "cut between members": TAR[: 6 * BLOCK],
    "without the blocks that end it": tar(CATS)[: 6 * BLOCK],
    "junk between members": TAR[: 6 * BLOCK] + b"junk" * 128 + TAR[6 * BLOCK :],
    "a byte between members": TAR[: 6 * BLOCK] + b"\0" + TAR[6 * BLOCK :],
    "junk behind its end": TAR + b"junk" * 128,
    "a few bytes behind its end": TAR + b"junk",
    "joined to a cut one": TAR + TAR[: 6 * BLOCK + 100],
    "nothing but an extended header": tar({"cat/" + 200 * "a": b""})[: 2 * BLOCK],
    "an extended header, then the end": tar({"cat/" + 200 * "a": b""})[: 2 * BLOCK] + bytes(2 * BLOCK),
}


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_tar_gives_a_one_line_error(project: Project, kind: str, damage: str) -> None:
    assert project.open_error(write(project, f"pets.{kind}", PACK[kind](DAMAGE[damage]))).endswith(REPACK_HINT)


def test_a_flipped_byte_in_any_tar_header_is_detected(project: Project) -> None:
    data = project.data("pets.tar")
    # 29 apart, which avoids the only unused byte of a header, 155.
    headers = [position for block in range(0, 12, 2) for position in range(block * BLOCK, (block + 1) * BLOCK, 29)]
    for position in [*headers, 12 * BLOCK + 5, len(TAR) - 5]:
        flipped = bytearray(TAR)
        flipped[position] ^= 0xFF
        write(project, "pets.tar", bytes(flipped))
        with pytest.raises(DataError, match=REPACK_HINT), open_source(data):
            pass


def test_a_tar_member_of_negative_size_is_refused(project: Project) -> None:
    header = bytearray(tarfile.TarInfo("cat/9.png").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (-4 * BLOCK).to_bytes(12, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    assert project.open_error(write(project, "pets.tar", TAR[: 8 * BLOCK] + header + TAR[8 * BLOCK :])).endswith(
        REPACK_HINT
    )


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz", "tar.lzma"])
def test_a_damaged_compressed_stream_gives_a_one_line_error(project: Project, kind: str) -> None:
    packed = PACK[kind](TAR)
    half = bytearray(packed)
    half[len(half) // 2] ^= 0xFF
    for damaged in (packed[:-1], packed[: len(packed) // 2], packed[:20], packed + b"junk", bytes(half), b""):
        assert project.open_error(write(project, f"pets.{kind}", damaged)).endswith(REPACK_HINT)


def unlisted(content: bytes) -> bytes:
    """A zip whose central directory and end record omit the first member."""
    start, end = content.find(b"PK\x01\x02"), content.find(b"PK\x05\x06")
    second = content.find(b"PK\x01\x02", start + 4)
    record = list(struct.unpack("<4sHHHHLLH", content[end:]))
    record[3:7] = [record[3] - 1, record[4] - 1, record[5] - (second - start), record[6]]
    return content[:start] + content[second:end] + struct.pack("<4sHHHHLLH", *record)


END = ZIP.find(b"PK\x05\x06")
ZIP_DAMAGE = {
    "joined": zipped(CATS) + zipped(DOGS),
    "the first of two cut": zipped(CATS)[:-60] + zipped(DOGS),
    "joined to a cut one": ZIP + ZIP[:200],
    "cut": ZIP[:-1],
    "cut in its list": ZIP[: END - 20],
    "cut in a member": ZIP[:100],
    "counts more than it lists": ZIP[: END + 8] + struct.pack("<HH", 7, 7) + ZIP[END + 12 :],
    "counts fewer than it lists": ZIP[: END + 8] + struct.pack("<HH", 5, 5) + ZIP[END + 12 :],
    "leaves a member out": unlisted(ZIP),
    "an impossible offset": patch_directory(ZIP, 42, "<L", 0xFFFFFF),
    "all at one place": patch_directory(ZIP, 42, "<L", 0),
    "longer members than the file": patch_directory(ZIP, 20, "<L", 10**6),
    "another name in the list": ZIP[: ZIP.find(b"PK\x01\x02")] + ZIP[ZIP.find(b"PK\x01\x02") :].replace(b"cat", b"cow"),
    "one part of several": ZIP[: END + 4] + struct.pack("<HH", 3, 3) + ZIP[END + 8 :],
}


@pytest.mark.parametrize("damage", ZIP_DAMAGE)
def test_an_incomplete_zip_gives_a_one_line_error(project: Project, damage: str) -> None:
    assert project.open_error(write(project, "pets.zip", ZIP_DAMAGE[damage])).endswith(REPACK_HINT)


def test_no_flipped_byte_of_a_zip_loses_a_member_silently(project: Project) -> None:
    files = {"cat/1.png": b"a cat", "dog/2.png": b"a dog"}
    whole = zipped(files)
    data = project.data("pets.zip", labels="none")
    refused = 0
    for position in range(0, len(whole), 2):
        flipped = bytearray(whole)
        flipped[position] ^= 0xFF
        write(project, "pets.zip", bytes(flipped))
        try:
            with open_source(data) as found:
                assert {item.name for item in found.items} | {skip.file for skip in found.skipped} == files.keys()
                for item in found.items:
                    assert item.read() == files[item.name]
        except (DataError, UnreadableImageError):
            refused += 1
    assert refused > len(whole) / 4


def test_a_zip_after_a_prefix_is_read(project: Project) -> None:
    assert contents(project, write(project, "pets.zip", b"#!/bin/sh\nexit\n" + ZIP)) == CATS | DOGS


def test_a_zip_with_a_comment_is_read(project: Project) -> None:
    with zipfile.ZipFile(project.folder / "pets.zip", "w") as archive:
        archive.writestr("1.png", b"1")
        archive.comment = b"all my pets"
    assert contents(project, "pets.zip") == {"1.png": b"1"}


def test_a_zip64_member_count_is_checked(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 5)  # from there on zipfile writes the Zip64 records
    content = bytearray(zipped(CATS | DOGS))
    record = content.rfind(b"PK\x05\x06")
    content[record + 8 : record + 12] = b"\xff" * 4
    assert contents(project, write(project, "pets.zip", bytes(content))) == CATS | DOGS
    count = content.rfind(b"PK\x06\x06") + 32
    content[count] += 1
    assert project.open_error(write(project, "pets.zip", bytes(content))).endswith(REPACK_HINT)


# Members


def test_backslashes_and_folder_entries_from_windows_are_read(project: Project) -> None:
    files = {"cat@": b"", **{name.replace("/", "@"): content for name, content in (CATS | DOGS).items()}}
    content = zipped(files).replace(b"cat@", b"cat\\").replace(b"dog@", b"dog\\")
    assert contents(project, write(project, "pets.zip", content)) == CATS | DOGS


def test_links_in_a_tar_are_resolved(project: Project) -> None:
    with tarfile.open(project.folder / "pets.tar", "w") as archive:
        for name, kind, target in (
            ("cat/early.png", tarfile.SYMTYPE, "../all/1.png"),
            ("all/1.png", tarfile.REGTYPE, ""),
            ("cat/1.png", tarfile.LNKTYPE, "all/1.png"),
            ("cat/2.png", tarfile.SYMTYPE, "1.png"),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.size = kind, target, 0 if target else 5
            archive.addfile(entry, io.BytesIO(b"a cat"))
    names = ("all/1.png", "cat/1.png", "cat/2.png", "cat/early.png")
    assert contents(project, "pets.tar") == dict.fromkeys(names, b"a cat")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/etc/passwd", "a link that leads outside the archive"),
        ("../../etc/passwd", "a link that leads outside the archive"),
        ("gone.png", "a link to nothing"),
        ("link.png", "a link to nothing"),
    ],
)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_dangling_or_unsafe_link_is_skipped_with_the_reason(
    project: Project, kind: str, target: str, reason: str
) -> None:
    files = {"cat/link.png": target.encode()}
    if kind == "zip":
        content = zipped(files, external_attr=(stat.S_IFLNK | 0o777) << 16)
    else:
        content = tar({"cat/link.png": b""}, type=tarfile.SYMTYPE, linkname=target)
    with project.open(write(project, f"pets.{kind}", content)) as found:
        assert [(skip.file, skip.reason) for skip in found.skipped] == [("cat/link.png", reason)]


def test_of_two_members_with_the_same_name_the_later_wins(project: Project) -> None:
    content = tar({"1.png": b"old", "2.png": b"two"}) + tar({"./1.png": b"new"})
    with project.open(write(project, "pets.tar", content)) as found:
        assert {item.name: item.read() for item in found.items} == {"1.png": b"new", "2.png": b"two"}
        assert [skip.reason for skip in found.skipped] == ["a later file of the archive has the same name"]


# Names


def renamed(name: bytes, extra: bytes = b"") -> bytes:
    """A zip without the UTF-8 flag, with a member in a class folder of that name. extra: its extra field."""
    content = zipped({f"{'@' * len(name)}/1.png": b"1", "tea/1.png": b"2"}, extra=extra)
    return content.replace(b"@" * len(name), name)


def unicode_path(written: bytes, meant: str) -> bytes:
    """Info-ZIP's Unicode Path field."""
    data = struct.pack("<BL", 1, zlib.crc32(written)) + meant.encode()
    return struct.pack("<HH", 0x7075, len(data)) + data


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("Café".encode(), b""),
        ("Cafe\u0301".encode(), b""),
        (b"Caf\x82", unicode_path(b"Caf\x82/1.png", "Café/1.png")),
    ],
)
def test_names_of_zip_members_are_utf8_with_or_without_the_flag(project: Project, name: bytes, extra: bytes) -> None:
    with project.open(write(project, "drinks.zip", renamed(name, extra))) as found:
        assert found.classes == ["Café", "tea"]


@pytest.mark.parametrize(
    ("name", "reading"),
    [
        (b"Caf\x82", "Café as DOS cp437"),
        ("Café".encode("latin-1"), "Café as Windows-1252"),
        ("猫の写真".encode("cp932"), "猫の写真 as Shift-JIS"),
        ("照片".encode("gbk"), "照片 as GBK"),
        ("кошка".encode("cp866"), "кошка as Cyrillic cp866"),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_in_another_encoding_are_refused_with_possible_readings(
    project: Project, kind: str, name: bytes, reading: str
) -> None:
    content = renamed(name) if kind == "zip" else tar({f"{name.decode('utf-8', 'surrogateescape')}/1.png": b"1"})
    message = project.open_error(write(project, f"drinks.{kind}", content))
    assert message.startswith(f"drinks.{kind}: a name in it is not UTF-8 (")
    assert reading in message
    assert "pack it again" in message


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_composed_and_decomposed_forms_of_a_name_are_one_class(project: Project, kind: str) -> None:
    files = {"Café/1.png": b"1", "Cafe\u0301/2.png": b"2", "Cafe\u0301/1.png": b"3", "tea/1.png": b"4"}
    with project.open(write(project, f"drinks.{kind}", zipped(files) if kind == "zip" else tar(files))) as found:
        assert found.classes == ["Café", "tea"]
        assert sorted(item.read() for item in found.items) == [b"1", b"2", b"3", b"4"]


def test_a_unicode_path_field_of_another_name_is_ignored(project: Project) -> None:
    content = renamed(b"Caf\x82", unicode_path(b"another name", "Café/1.png"))
    assert "Café as DOS cp437" in project.open_error(write(project, "drinks.zip", content))
