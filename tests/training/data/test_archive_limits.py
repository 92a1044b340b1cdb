"""Nothing in an archive is larger than it says, and what is no archive that is read is called by its name."""

import gzip
import lzma
import tarfile
import tracemalloc
import zipfile

import pytest

from tests.training.data.packing import AGAIN, BLOCK, CATS, DOGS, PACK, TAR, ZIP, contents, listed, tar, write, zipped
from tests.training.project import Project
from training.data.sources import UnreadableImageError, decompression

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
            with pytest.raises(UnreadableImageError, match="damaged in the archive: it"):
                found.items[0].read()
            assert tracemalloc.get_traced_memory()[1] < LARGE / 4
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("size", [999, 1001, 2**31])
def test_a_size_that_does_not_fit_is_one_skipped_file(
    project: Project, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decompression, "MIN_QUOTA_MIB", 1 << 20)
    source = write(project, "pets.zip", listed(zipped({"1.png": bytes(1000)}), 24, "<L", size))
    with project.open(source) as found, pytest.raises(UnreadableImageError):
        found.items[0].read()


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_a_source_that_unpacks_to_many_times_its_size_is_refused(
    project: Project, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{i}.png": bytes(1 << 20) for i in range(4)}
    name = write(project, f"bomb.{kind}", zipped(files) if kind == "zip" else PACK[kind](tar(files)))
    assert len(project.labels(name)) == 4
    monkeypatch.setattr(decompression, "MIN_QUOTA_MIB", 2)
    assert "unpacks to more than 2 MiB and 200 times its size" in project.refusal(name)


def test_a_tar_that_needs_more_room_than_the_disk_has_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decompression, "RESERVED_DISK_MIB", 1 << 40)
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
    monkeypatch.setattr(decompression, "MAX_DICTIONARY_MIB", 1)
    assert "takes more than 1 MiB of memory" in project.refusal(write(project, "pets.tar.xz", lzma.compress(TAR)))
    source = write(project, "pets.zip", zipped({"1.png": bytes(2 << 20)}, zipfile.ZIP_LZMA))
    with (
        project.open(source) as found,
        pytest.raises(UnreadableImageError, match="dictionary of 2 MiB, the limit is 1"),
    ):
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
        ("images.gz", gzip.compress(b"x", mtime=0), "is packed with gzip and no tar archive; unpack it (gzip -d)"),
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
