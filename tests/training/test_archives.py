"""Archives are read to their proven end or refused: nothing in them is lost, renamed or larger than it says unseen."""

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable

import pytest

from tests.training.project import Project
from training.manifest import DataError
from training.sources import UnreadableError, open_source, unpacking

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
AGAIN = "download or pack it again"


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


def listed(content: bytes, offset: int, layout: str, value: int) -> bytes:
    """A zip in whose list of members every entry has another value at that offset."""
    changed, position = bytearray(content), content.find(b"PK\x01\x02")
    while position >= 0:
        struct.pack_into(layout, changed, position + offset, value)
        position = content.find(b"PK\x01\x02", position + 4)
    return bytes(changed)


def write(project: Project, name: str, content: bytes) -> str:
    """Writes an archive into the project; returns its name, for data.source."""
    (project.folder / name).write_bytes(content)
    return name


def contents(project: Project, source: str) -> dict[str, bytes]:
    """What a source gives, by name."""
    with project.open(source) as found:
        assert not found.rejected
        return {item.name: bytes(item.read()) for item in found.items}


# Read to the end


@pytest.mark.parametrize("kind", PACK)
def test_joined_tars_are_read_to_the_end_of_both(project: Project, kind: str) -> None:
    first, second, pack = tar(CATS), tar(DOGS), PACK[kind]
    assert contents(project, write(project, f"pets.{kind}", pack(first + second))) == CATS | DOGS
    assert contents(project, write(project, f"pets.{kind}", pack(first) + pack(second))) == CATS | DOGS


def test_a_compressed_tar_in_several_streams_is_one_archive(project: Project) -> None:
    whole = tar(CATS | DOGS)
    parts = [whole[:700], whole[700:3000], whole[3000:]]
    for kind in ("tar.gz", "tar.bz2", "tar.xz"):
        name = write(project, f"pets.{kind}", b"".join(map(PACK[kind], parts)))
        assert contents(project, name) == CATS | DOGS


TAR = tar(CATS | DOGS)
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
    "a size below nothing": TAR[: 6 * BLOCK] + tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT)[:124] + b"",
    "nothing but an extended header": tar({"cat/" + 200 * "a": b""})[: 2 * BLOCK],
    "an extended header, then the end": tar({"cat/" + 200 * "a": b""})[: 2 * BLOCK] + bytes(2 * BLOCK),
}


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_tar_is_one_sentence(project: Project, kind: str, damage: str) -> None:
    assert project.refusal(write(project, f"pets.{kind}", PACK[kind](DAMAGE[damage]))).endswith(AGAIN)


def test_a_flipped_byte_in_any_header_of_a_tar_is_noticed(project: Project) -> None:
    data = project.data("pets.tar")
    # 29 apart: of a header only the blank behind its checksum, byte 155, says nothing.
    headers = [position for block in range(0, 12, 2) for position in range(block * BLOCK, (block + 1) * BLOCK, 29)]
    for position in [*headers, 12 * BLOCK + 5, len(TAR) - 5]:
        flipped = bytearray(TAR)
        flipped[position] ^= 0xFF
        write(project, "pets.tar", bytes(flipped))
        with pytest.raises(DataError, match=AGAIN), open_source(data):
            pass


def test_a_member_of_negative_size_does_not_send_the_reader_back(project: Project) -> None:
    header = bytearray(tarfile.TarInfo("cat/9.png").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (-4 * BLOCK).to_bytes(12, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    assert project.refusal(write(project, "pets.tar", TAR[: 8 * BLOCK] + header + TAR[8 * BLOCK :])).endswith(AGAIN)


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz", "tar.lzma"])
def test_a_damaged_compression_is_one_sentence(project: Project, kind: str) -> None:
    packed = PACK[kind](TAR)
    half = bytearray(packed)
    half[len(half) // 2] ^= 0xFF
    for damaged in (packed[:-1], packed[: len(packed) // 2], packed[:20], packed + b"junk", bytes(half), b""):
        assert project.refusal(write(project, f"pets.{kind}", damaged)).endswith(AGAIN)


def unlisted(content: bytes) -> bytes:
    """A zip whose end record and list leave out the first member."""
    start, end = content.find(b"PK\x01\x02"), content.find(b"PK\x05\x06")
    second = content.find(b"PK\x01\x02", start + 4)
    record = list(struct.unpack("<4sHHHHLLH", content[end:]))
    record[3:7] = [record[3] - 1, record[4] - 1, record[5] - (second - start), record[6]]
    return content[:start] + content[second:end] + struct.pack("<4sHHHHLLH", *record)


ZIP = zipped(CATS | DOGS)
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
    "an impossible offset": listed(ZIP, 42, "<L", 0xFFFFFF),
    "all at one place": listed(ZIP, 42, "<L", 0),
    "longer members than the file": listed(ZIP, 20, "<L", 10**6),
    "another name in the list": ZIP[: ZIP.find(b"PK\x01\x02")] + ZIP[ZIP.find(b"PK\x01\x02") :].replace(b"cat", b"cow"),
    "one part of several": ZIP[: END + 4] + struct.pack("<HH", 3, 3) + ZIP[END + 8 :],
}


@pytest.mark.parametrize("damage", ZIP_DAMAGE)
def test_a_zip_that_is_not_whole_is_one_sentence(project: Project, damage: str) -> None:
    assert project.refusal(write(project, "pets.zip", ZIP_DAMAGE[damage])).endswith(AGAIN)


def test_no_flipped_byte_of_a_zip_loses_a_member_in_silence(project: Project) -> None:
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
                assert {item.name for item in found.items} | {skip.file for skip in found.rejected} == files.keys()
                for item in found.items:
                    assert item.read() == files[item.name]
        except (DataError, UnreadableError):
            refused += 1
    assert refused > len(whole) / 4


def test_a_zip_behind_something_else_is_read(project: Project) -> None:
    assert contents(project, write(project, "pets.zip", b"#!/bin/sh\nexit\n" + ZIP)) == CATS | DOGS


def test_a_zip_with_a_comment_is_read(project: Project) -> None:
    with zipfile.ZipFile(project.folder / "pets.zip", "w") as archive:
        archive.writestr("1.png", b"1")
        archive.comment = b"all my pets"
    assert contents(project, "pets.zip") == {"1.png": b"1"}


def test_a_zip_whose_members_are_counted_in_the_longer_form_is_read(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 5)  # from there on zipfile writes the Zip64 records
    content = bytearray(zipped(CATS | DOGS))
    record = content.rfind(b"PK\x05\x06")
    content[record + 8 : record + 12] = b"\xff" * 4
    assert contents(project, write(project, "pets.zip", bytes(content))) == CATS | DOGS
    count = content.rfind(b"PK\x06\x06") + 32
    content[count] += 1
    assert project.refusal(write(project, "pets.zip", bytes(content))).endswith(AGAIN)


# What the members are


def test_backslashes_and_folder_entries_of_windows_are_no_failures(project: Project) -> None:
    files = {"cat@": b"", **{name.replace("/", "@"): content for name, content in (CATS | DOGS).items()}}
    content = zipped(files).replace(b"cat@", b"cat\\").replace(b"dog@", b"dog\\")
    assert contents(project, write(project, "pets.zip", content)) == CATS | DOGS


def test_links_in_a_tar_are_the_files_that_they_lead_to(project: Project) -> None:
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
def test_a_link_that_leads_nowhere_is_listed(project: Project, kind: str, target: str, reason: str) -> None:
    files = {"cat/link.png": target.encode()}
    if kind == "zip":
        content = zipped(files, external_attr=(stat.S_IFLNK | 0o777) << 16)
    else:
        content = tar({"cat/link.png": b""}, type=tarfile.SYMTYPE, linkname=target)
    with project.open(write(project, f"pets.{kind}", content)) as found:
        assert [(skip.file, skip.reason) for skip in found.rejected] == [("cat/link.png", reason)]


def test_of_two_members_with_one_name_the_later_is_the_file(project: Project) -> None:
    content = tar({"1.png": b"old", "2.png": b"two"}) + tar({"./1.png": b"new"})
    with project.open(write(project, "pets.tar", content)) as found:
        assert {item.name: item.read() for item in found.items} == {"1.png": b"new", "2.png": b"two"}
        assert [skip.reason for skip in found.rejected] == ["a later file of the archive has the same name"]


# Names


def renamed(name: bytes, extra: bytes = b"") -> bytes:
    """A zip without the UTF-8 flag, with a member in a class folder of that name; extra: its field in the list."""
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
        (b"Caf\x82", unicode_path(b"another name", "Café/1.png").decode("latin-1")),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_in_another_encoding_are_refused_with_their_readings(
    project: Project, kind: str, name: bytes, reading: str
) -> None:
    extra = reading.encode("latin-1") if reading.startswith("up") else b""
    content = renamed(name, extra) if kind == "zip" else tar({f"{name.decode('utf-8', 'surrogateescape')}/1.png": b"1"})
    said = project.refusal(write(project, f"drinks.{kind}", content))
    assert said.startswith(f"drinks.{kind}: a name in it is not UTF-8 (")
    assert extra or reading in said
    assert "pack it again" in said


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_one_name_composed_and_decomposed_is_one_class(project: Project, kind: str) -> None:
    files = {"Café/1.png": b"1", "Cafe\u0301/2.png": b"2", "Cafe\u0301/1.png": b"3", "tea/1.png": b"4"}
    with project.open(write(project, f"drinks.{kind}", zipped(files) if kind == "zip" else tar(files))) as found:
        assert found.classes == ["Café", "tea"]
        assert sorted(item.read() for item in found.items) == [b"1", b"2", b"3", b"4"]


# Sizes

METHODS = {"deflate": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA, "stored": 0}
LARGE = 8 << 20  # bytes of zeros


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_a_zip_gives_what_was_packed(project: Project, method: str) -> None:
    files = {"1.png": bytes(range(256)) * 3000, "2.png": b"", "3.png": b"3"}
    assert contents(project, write(project, "pets.zip", zipped(files, METHODS[method]))) == files


@pytest.mark.parametrize("method", ["deflate", "bzip2", "lzma"])
def test_a_member_larger_than_it_says_is_not_unpacked(project: Project, method: str) -> None:
    packed = listed(zipped({"1.png": bytes(LARGE)}, METHODS[method]), 24, "<L", 1000)
    with project.open(write(project, "pets.zip", packed)) as found:
        tracemalloc.start()
        try:
            with pytest.raises(UnreadableError, match="damaged in the archive: it"):
                found.items[0].read()
            assert tracemalloc.get_traced_memory()[1] < LARGE / 4
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("size", [999, 1001, 2**31])
def test_a_size_that_does_not_fit_is_one_skipped_file(
    project: Project, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "FLOOR_MIB", 1 << 20)
    source = write(project, "pets.zip", listed(zipped({"1.png": bytes(1000)}), 24, "<L", size))
    with project.open(source) as found, pytest.raises(UnreadableError):
        found.items[0].read()


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_a_source_that_unpacks_to_many_times_its_size_is_refused(
    project: Project, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{i}.png": bytes(1 << 20) for i in range(4)}
    name = write(project, f"bomb.{kind}", zipped(files) if kind == "zip" else PACK[kind](tar(files)))
    assert len(project.labels(name)) == 4
    monkeypatch.setattr(unpacking, "FLOOR_MIB", 2)
    assert "bomb" in project.refusal(name)
    assert "unpacks to more than 2 MiB and 200 times its size" in project.refusal(name)


def test_a_tar_that_needs_more_room_than_the_disk_has_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "RESERVE_MIB", 1 << 40)
    assert "needs more room than the disk of .runs/unpacked has free" in project.refusal(
        write(project, "pets.tar", TAR)
    )


def test_a_header_of_a_tar_that_claims_a_gigabyte_is_not_read(project: Project) -> None:
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        entry = tarfile.TarInfo("x")
        entry.type, entry.size = kind, 1 << 30
        content = TAR[: 6 * BLOCK] + entry.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)
        assert project.refusal(write(project, "pets.tar.gz", gzip.compress(content))).endswith(AGAIN)


def test_a_dictionary_beyond_the_limit_is_refused(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "DICTIONARY_MIB", 1)
    assert "takes more than 1 MiB of memory" in project.refusal(write(project, "pets.tar.xz", lzma.compress(TAR)))
    source = write(project, "pets.zip", zipped({"1.png": bytes(2 << 20)}, zipfile.ZIP_LZMA))
    with project.open(source) as found, pytest.raises(UnreadableError, match="dictionary of 2 MiB, the limit is 1"):
        found.items[0].read()


# What is no archive that is read


@pytest.mark.parametrize(
    ("name", "start", "said"),
    [
        ("pets.tar.zst", b"\x28\xb5\x2f\xfd", "is packed with Zstandard, which is not read here; unpack it"),
        ("pets.7z", b"7z\xbc\xaf\x27\x1c", "is a 7z archive, which"),
        ("pets.zip", b"7z\xbc\xaf\x27\x1c", "is a 7z archive, which"),
        ("pets.rar", b"Rar!\x1a\x07\x01\x00", "is a RAR archive, which"),
        ("pets.tar.lz", b"LZIP\x01", "is packed with lzip, which"),
        ("pets.tar.lz4", b"\x04\x22\x4d\x18", "is packed with LZ4, which"),
        ("pets.tar.Z", b"\x1f\x9d\x90", "is packed with compress (.Z), which"),
        ("pets.iso", bytes(32769) + b"CD001", "is a disk image (ISO 9660), which"),
        ("pets.npy", b"\x93NUMPY\x01\x00", "is a single .npy array, which is not read here; save it with numpy.savez"),
        ("pets", b"\0\0\x08\x03", "is an IDX file, which is not read here; set data.source to the folder"),
        ("images.gz", gzip.compress(b"x"), "is packed with gzip and no tar archive; unpack it (gzip -d)"),
        ("cat.png", b"\x89PNG\r\n", "is a single picture, which"),
    ],
)
def test_what_is_no_source_is_called_by_its_name(project: Project, name: str, start: bytes, said: str) -> None:
    assert project.refusal(write(project, name, start)).startswith(f"params.yaml: data.source = {name!r} {said}")


@pytest.mark.parametrize("method", [(9, "Deflate64"), (93, "Zstandard"), (97, "method 97")])
def test_a_zip_packed_by_another_method_is_one_sentence(project: Project, method: tuple[int, str]) -> None:
    number, said = method
    assert f"is packed with {said}, which is not read here" in project.refusal(
        write(project, "pets.zip", listed(ZIP, 10, "<H", number))
    )


@pytest.mark.parametrize("name", ["PETS.ZIP", "PETS.TGZ", "PETS.TAR", "pets", "pets.jpg"])
def test_an_archive_is_known_by_its_content(project: Project, name: str) -> None:
    content = gzip.compress(TAR) if "TGZ" in name else TAR if "TAR" in name else ZIP
    assert contents(project, write(project, name, content)) == CATS | DOGS
