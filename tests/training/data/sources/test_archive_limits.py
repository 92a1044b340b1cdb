"""Size limits of archives against decompression bombs, and errors for unsupported file types."""

import gzip
import lzma
import tarfile
import tracemalloc
import zipfile

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
from training.data.sources import UnreadableImageError, decompression

# Sizes

METHODS = {"deflate": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA, "stored": 0}
LARGE = 8 << 20  # bytes of zeros


@pytest.mark.parametrize("method", METHODS)
def test_every_compression_method_of_zip_round_trips(project: Project, method: str) -> None:
    files = {"1.png": bytes(range(256)) * 3000, "2.png": b"", "3.png": b"3"}
    assert contents(project, write(project, "pets.zip", zipped(files, METHODS[method]))) == files


@pytest.mark.parametrize("method", ["deflate", "bzip2", "lzma"])
def test_a_member_larger_than_declared_is_not_unpacked(project: Project, method: str) -> None:
    packed = patch_directory(zipped({"1.png": bytes(LARGE)}, METHODS[method]), 24, "<L", 1000)
    with project.open(write(project, "pets.zip", packed)) as found:
        tracemalloc.start()
        try:
            with pytest.raises(UnreadableImageError, match="damaged in the archive: it"):
                found.items[0].read()
            assert tracemalloc.get_traced_memory()[1] < LARGE / 4
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("size", [999, 1001, 2**31])
def test_a_member_with_a_wrong_size_is_unreadable(project: Project, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompression, "MIN_QUOTA_MIB", 1 << 20)
    source = write(project, "pets.zip", patch_directory(zipped({"1.png": bytes(1000)}), 24, "<L", size))
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
    assert "unpacks to more than 2 MiB and 200 times its size" in project.open_error(name)


def test_a_tar_that_needs_more_room_than_the_disk_has_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decompression, "RESERVED_DISK_MIB", 1 << 40)
    assert "needs more room than the disk of .runs/unpacked has free" in project.open_error(
        write(project, "pets.tar", TAR)
    )


def test_a_tar_header_that_declares_a_gigabyte_is_not_read(project: Project) -> None:
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        entry = tarfile.TarInfo("x")
        entry.type, entry.size = kind, 1 << 30
        content = TAR[: 6 * BLOCK] + entry.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)
        assert project.open_error(write(project, "pets.tar.gz", gzip.compress(content))).endswith(REPACK_HINT)


def test_a_dictionary_beyond_the_limit_is_refused(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompression, "MAX_DICTIONARY_MIB", 1)
    assert "takes more than 1 MiB of memory" in project.open_error(write(project, "pets.tar.xz", lzma.compress(TAR)))
    source = write(project, "pets.zip", zipped({"1.png": bytes(2 << 20)}, zipfile.ZIP_LZMA))
    with (
        project.open(source) as found,
        pytest.raises(UnreadableImageError, match="dictionary of 2 MiB, the limit is 1"),
    ):
        found.items[0].read()


# Unsupported files


@pytest.mark.parametrize(
    ("name", "start", "message"),
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
def test_an_unsupported_file_type_is_named(project: Project, name: str, start: bytes, message: str) -> None:
    assert project.open_error(write(project, name, start)).startswith(f"params.yaml: data.source = {name!r} {message}")


@pytest.mark.parametrize("method", [(9, "Deflate64"), (93, "Zstandard"), (97, "method 97")])
def test_a_zip_with_an_unsupported_method_gives_a_one_line_error(project: Project, method: tuple[int, str]) -> None:
    number, message = method
    assert f"is packed with {message}, which is not read here" in project.open_error(
        write(project, "pets.zip", patch_directory(ZIP, 10, "<H", number))
    )


@pytest.mark.parametrize("name", ["PETS.ZIP", "PETS.TGZ", "PETS.TAR", "pets", "pets.jpg"])
def test_an_archive_is_detected_by_content(project: Project, name: str) -> None:
    content = gzip.compress(TAR) if "TGZ" in name else TAR if "TAR" in name else ZIP
    assert contents(project, write(project, name, content)) == CATS | DOGS
